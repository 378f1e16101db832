"""The job store: order, leases, tokens, crashes, drains."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.contracts import Claim, JobKind, JobState, Progress
from app.errors import Conflict, NotFound, StaleWorker
from app.store.jobs import JobStore
from app.store.state import State
from tests.playing import Player
from tests.processes import wait_until

PROGRESS = Progress(phase="training", step=1, total_steps=2, fraction=0.5)
SHORT = 0.03


@pytest.fixture
def jobs(state: State, player: Player) -> JobStore:
    """With the datasets `a`, `b` and `c`."""
    for name in "abc":
        player.dataset(name=name)
    return state.jobs


def queue(player: Player, *names: str) -> list[str]:
    return [player.queue(name).id for name in names]


def claimed(jobs: JobStore, lease: float = 30.0) -> Claim:
    claim = jobs.claim("w", lease)
    assert claim is not None
    return claim


def reap(jobs: JobStore, max_crashes: int = 3) -> list[str]:
    """What is taken back once the short leases have run out."""
    found: list[str] = []
    wait_until(lambda: bool(found.extend(jobs.reap(max_crashes)) or found))
    return found


# -- the queue -----------------------------------------------------------------------------------------
def test_oldest_first_and_one_a_dataset_at_a_time(jobs: JobStore, player: Player) -> None:
    a1, a2, b1, a3 = queue(player, "a", "a", "b", "a")
    first, second = claimed(jobs), claimed(jobs)
    assert [first.job.id, second.job.id] == [a1, b1]
    assert (first.job.state, first.job.attempt) == (JobState.RUNNING, 1)
    assert first.job.started_at is not None
    assert jobs.claim("w", 30) is None, "a dataset has two workers"
    jobs.end(first, JobState.SUCCEEDED, progress=PROGRESS)
    assert claimed(jobs).job.id == a2
    assert jobs.waiting() == 1
    assert jobs.unfinished_of(first.dataset_uid) == [a3, a2]


def test_claimers_at_once_get_different_jobs(jobs: JobStore, player: Player) -> None:
    ids = queue(player, "a", "b", "c", "a", "b", "c")
    with ThreadPoolExecutor(8) as pool:
        claims = [claim for claim in pool.map(lambda n: jobs.claim(f"w{n}", 30), range(8)) if claim]
    assert sorted(claim.job.id for claim in claims) == sorted(ids[:3])
    assert len({claim.token for claim in claims}) == 3


def test_tokens_rise_also_after_the_server_lost_the_last_one(
    jobs: JobStore, player: Player, state: State
) -> None:
    tokens = []
    for turn in range(6):
        queue(player, "a")
        claim = claimed(jobs)
        tokens.append(claim.token)
        jobs.end(claim, JobState.SUCCEEDED, progress=PROGRESS)
        if turn % 2:
            state.client.delete(state.keys.jobs.token)
    assert tokens == sorted(set(tokens))
    state.client.set(state.keys.jobs.token, tokens[-1] + 10**12)
    queue(player, "a")
    assert claimed(jobs).token == tokens[-1] + 10**12 + 1, "a clock behind the last token must not win"


def test_a_job_of_a_deleted_dataset_can_still_be_claimed_and_ended(
    jobs: JobStore, player: Player, state: State
) -> None:
    queue(player, "a")
    state.datasets.forget(state.datasets.get("a"))
    claim = claimed(jobs)
    assert state.datasets.by_uid(claim.dataset_uid) is None
    jobs.end(claim, JobState.CANCELLED, progress=PROGRESS)
    assert jobs.get(claim.job.id).state is JobState.CANCELLED


# -- leases --------------------------------------------------------------------------------------------
def test_a_lease_that_runs_out_gives_the_job_to_the_next(jobs: JobStore, player: Player) -> None:
    (job_id,) = queue(player, "a")
    dead = claimed(jobs, SHORT)
    assert reap(jobs) == [job_id]
    assert jobs.get(job_id).state is JobState.QUEUED
    again = claimed(jobs)
    assert (again.job.id, again.job.attempt) == (job_id, 2)
    assert again.token > dead.token
    assert again.job.started_at == dead.job.started_at
    for refused in (
        lambda: jobs.renew(dead, 30, PROGRESS),
        lambda: jobs.end(dead, JobState.SUCCEEDED, progress=PROGRESS, result={"stale": True}),
    ):
        with pytest.raises(StaleWorker):
            refused()
    held = jobs.get(job_id)
    assert (held.state, held.result, held.progress) == (JobState.RUNNING, None, Progress())
    assert jobs.renew(again, 30, None) == "ok"


def test_a_renewed_lease_is_not_taken_back(jobs: JobStore, player: Player) -> None:
    queue(player, "a", "b")
    kept, lost = claimed(jobs, SHORT), claimed(jobs, SHORT)
    assert jobs.renew(kept, 30, PROGRESS) == "ok"
    assert reap(jobs) == [lost.job.id]
    assert jobs.get(kept.job.id).progress == PROGRESS
    assert jobs.renew(kept, 30, None) == "ok"
    assert jobs.get(kept.job.id).progress == PROGRESS


def test_a_server_that_was_away_itself_takes_nothing_back(jobs: JobStore, player: Player) -> None:
    queue(player, "a")
    claimed(jobs, SHORT)
    time.sleep(2 * SHORT)
    assert jobs.reap(3, after_uptime=1e9) == []
    assert len(jobs.reap(3)) == 1


def test_a_job_whose_workers_keep_dying_fails(jobs: JobStore, player: Player) -> None:
    (job_id,) = queue(player, "a")
    for attempt in (1, 2):
        assert claimed(jobs, SHORT).job.attempt == attempt
        assert reap(jobs, max_crashes=2) == [job_id]
    failed = jobs.get(job_id)
    assert failed.state is JobState.FAILED
    assert failed.finished_at is not None
    assert failed.error is not None
    assert failed.error.code == "worker_lost"
    assert jobs.waiting() == 0
    (next_id,) = queue(player, "a")
    assert claimed(jobs).job.id == next_id, "the dataset is still taken"


def test_a_dead_workers_cancelled_job_ends_cancelled(jobs: JobStore, player: Player) -> None:
    (job_id,) = queue(player, "a")
    claimed(jobs, SHORT)
    assert jobs.cancel(job_id) is JobState.RUNNING
    reap(jobs)
    assert jobs.get(job_id).state is JobState.CANCELLED
    assert jobs.claim("w", 30) is None


def test_an_ended_job_is_never_ended_again(jobs: JobStore, player: Player) -> None:
    (job_id,) = queue(player, "a")
    claim = claimed(jobs)
    jobs.end(claim, JobState.SUCCEEDED, progress=PROGRESS, result={"n": 1})
    with pytest.raises(StaleWorker):
        jobs.end(claim, JobState.FAILED, progress=PROGRESS)
    with pytest.raises(StaleWorker):
        jobs.renew(claim, 30, None)
    assert jobs.cancel(job_id) is JobState.SUCCEEDED
    held = jobs.get(job_id)
    assert (held.state, held.result) == (JobState.SUCCEEDED, {"n": 1})


# -- what a worker is told -----------------------------------------------------------------------------
def test_cancel_and_drain_reach_the_worker_that_they_are_meant_for(jobs: JobStore, player: Player) -> None:
    queue(player, "a", "b")
    mine, other = claimed(jobs), jobs.claim("other", 30)
    assert other is not None
    jobs.drain("other")
    assert (jobs.renew(mine, 30, None), jobs.renew(other, 30, None)) == ("ok", "drain")
    jobs.cancel(other.job.id)
    assert jobs.renew(other, 30, None) == "cancel", "cancel counts more than drain"
    jobs.leave("other")
    jobs.cancel(mine.job.id)
    assert jobs.renew(mine, 30, None) == "cancel"


def test_a_drained_job_keeps_its_place_and_counts_no_crash(jobs: JobStore, player: Player) -> None:
    first, second = queue(player, "a", "a")
    for attempt in range(1, 6):
        claim = claimed(jobs)
        assert (claim.job.id, claim.job.attempt) == (first, attempt)
        jobs.end(claim, JobState.QUEUED, progress=Progress())
        assert jobs.get(first).finished_at is None
    assert reap_now(jobs) == []
    jobs.cancel(first)
    assert claimed(jobs).job.id == second


def reap_now(jobs: JobStore) -> list[str]:
    return jobs.reap(1)


def test_a_job_that_was_to_be_cancelled_is_not_given_back(jobs: JobStore, player: Player) -> None:
    (job_id,) = queue(player, "a")
    claim = claimed(jobs)
    jobs.cancel(job_id)
    jobs.end(claim, JobState.QUEUED, progress=Progress())
    held = jobs.get(job_id)
    assert (held.state, held.finished_at is not None) == (JobState.CANCELLED, True)
    assert jobs.claim("w", 30) is None


def test_what_the_first_attempt_fixed_the_others_find(jobs: JobStore, player: Player) -> None:
    queue(player, "a")
    claim = claimed(jobs)
    assert jobs.remember(claim, "run", ["lin", 1]) == ["lin", 1]
    assert jobs.remember(claim, "run", ["other", 2]) == ["lin", 1]
    jobs.set_lineage(claim, "lin")
    assert jobs.get(claim.job.id).lineage == "lin"


# -- idempotency, presence -----------------------------------------------------------------------------
def test_idempotency(jobs: JobStore, state: State) -> None:
    dataset = state.datasets.get("a")

    def create(key: str, request: str) -> tuple[str, bool]:
        job, made = jobs.create(dataset, JobKind.SCORE, "demo", {}, (key, request))
        return job.id, made

    first, made = create("k", "r")
    assert made
    assert create("k", "r") == (first, False)
    with pytest.raises(Conflict):
        create("k", "other")
    assert create("k2", "r")[1]
    assert jobs.waiting() == 2


def test_unknown_jobs(jobs: JobStore) -> None:
    for ask in (jobs.get, jobs.cancel):
        with pytest.raises(NotFound):
            ask("job_nobody")


def test_workers_are_there_as_long_as_they_say_so(jobs: JobStore) -> None:
    assert jobs.workers() == 0
    jobs.beat("w1", 30)
    jobs.beat("w2", SHORT)
    jobs.beat("w1", 30)
    wait_until(lambda: jobs.workers() == 1)
    jobs.leave("w1")
    assert jobs.workers() == 0
