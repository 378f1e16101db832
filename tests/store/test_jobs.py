"""The job store: order, leases, tokens, crashes, drains."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import get_args

import pytest
from pydantic import ValidationError

from app.contracts import Claim, JobKind, JobState, Progress
from app.errors import Busy, Conflict, NotFound, StaleWorker
from app.settings import KindName, Settings
from app.store.jobs import JobStore, new_job_id
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


# -- fair between datasets ------------------------------------------------------------------------------
def claim_order(jobs: JobStore, count: int) -> list[str]:
    """Names of datasets, as one worker is given their jobs."""
    order = []
    for _ in range(count):
        claim = claimed(jobs)
        order.append(claim.job.dataset)
        jobs.end(claim, JobState.SUCCEEDED, progress=PROGRESS)
    return order


def test_a_dataset_with_many_jobs_does_not_hold_up_the_others(jobs: JobStore, player: Player) -> None:
    queue(player, *"aaaaaa", "b", "c", "b")
    assert "".join(claim_order(jobs, 9)) == "abcabaaaa"
    assert jobs.claim("w", 30) is None
    queue(player, "a", "c", "b")
    assert "".join(claim_order(jobs, 3)) == "cba", "who was served is known beyond an empty queue"


def test_a_full_queue_is_looked_through_to_its_end(jobs: JobStore, player: Player) -> None:
    queue(player, *"a" * 1200)
    (last,) = queue(player, "b")
    first = claimed(jobs)
    assert first.job.dataset == "a"
    started = time.perf_counter()
    assert claimed(jobs).job.id == last
    assert time.perf_counter() - started < 0.5
    assert jobs.claim("w", 30) is None
    jobs.end(first, JobState.SUCCEEDED, progress=PROGRESS)
    assert claimed(jobs).job.dataset == "a"


def test_several_workers_share_what_there_is_fairly(jobs: JobStore, player: Player) -> None:
    """Two workers, two datasets with many jobs, one with few: all take turns."""
    queue(player, *"a" * 12, *"b" * 12)
    queue(player, *"ccc")
    running = [claimed(jobs) for _ in range(2)]
    order = [claim.job.dataset for claim in running]
    while len(order) < 15:
        jobs.end(running.pop(0), JobState.SUCCEEDED, progress=PROGRESS)
        running.append(claimed(jobs))
        order.append(running[-1].job.dataset)
    assert "".join(order[:9]) == "abcabcabc"
    assert (order.count("a"), order.count("b")) == (6, 6)


def test_a_job_that_goes_back_keeps_its_turn(jobs: JobStore, player: Player) -> None:
    queue(player, "a", "b", "c")
    claim = claimed(jobs)
    jobs.end(claim, JobState.QUEUED, progress=PROGRESS)
    assert claimed(jobs).job.id == claim.job.id, "its worker was stopped, it was not its fault"


def test_a_job_whose_worker_died_does_not_hold_up_the_others(
    jobs: JobStore, player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    a1, b1, c1, a2, b2 = queue(player, "a", "b", "c", "a", "b")
    assert claimed(jobs, SHORT).job.id == a1
    reap(jobs)
    order = []
    for _ in range(4):
        claim = claimed(jobs)
        order.append(claim.job.id)
        jobs.end(claim, JobState.SUCCEEDED, progress=PROGRESS)
    assert order == [b1, c1, b2, a1], "then it runs: nothing else waits but its own dataset's next job"
    assert claimed(jobs).job.id == a2


def test_it_stands_behind_for_longer_each_time(
    jobs: JobStore, player: Player, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job_id,) = queue(player, "a")
    waits = []
    for _ in range(4):
        claimed(jobs, SHORT)
        reap(jobs, max_crashes=9)
        behind = float(state.client.hget(state.keys.jobs.record(job_id), "behind_ms") or 0)
        waits.append(behind / 1000 - time.time())
    assert waits == pytest.approx([10, 20, 40, 80], abs=5)
    monkeypatch.setattr("app.store.jobs.BEHIND_SECONDS", 0.0)
    claimed(jobs, SHORT)
    reap(jobs, max_crashes=9)
    (other,) = queue(player, "b")
    assert claimed(jobs).job.id == other, "it has had its turn"
    assert claimed(jobs).job.id == job_id


def test_what_is_known_of_a_death_is_told(jobs: JobStore, player: Player) -> None:
    job_id, other = queue(player, "a", "b")
    died, alive = claimed(jobs), jobs.claim("someone else", 30)
    assert alive is not None
    jobs.renew(died, 30, PROGRESS)
    assert jobs.note_death("w", "Worker exited prematurely: signal 9 (SIGKILL)") == job_id
    assert jobs.note_death("nobody", "?") is None
    assert jobs.reap(1) == [job_id], "at once, though the lease was long"
    failed = jobs.get(job_id)
    assert failed.error is not None
    assert failed.error.code == "worker_lost"
    assert 'in phase "training": Worker exited prematurely: signal 9' in failed.error.detail
    assert jobs.get(other).state is JobState.RUNNING


def test_a_worker_may_take_some_kinds_only(jobs: JobStore, player: Player, state: State) -> None:
    def send(name: str, kind: JobKind) -> str:
        return jobs.create(state.datasets.get(name), kind, "", {})[0].id

    score, clean, split = send("a", JobKind.SCORE), send("b", JobKind.CLEAN), send("a", JobKind.SPLIT)
    assert [kind.value for kind in JobKind] == list(get_args(KindName))
    short = Settings(worker_kinds="clean, split").worker_kinds
    assert short == ("clean", "split")
    with pytest.raises(ValidationError, match="worker_kinds"):
        Settings(worker_kinds="clean,cook")
    claim = jobs.claim("short", 30, kinds=short)
    assert claim is not None
    assert claim.job.id == clean
    assert jobs.claim("short", 30, kinds=short) is None, "the split job comes after its dataset's score job"
    first = claimed(jobs)
    assert first.job.id == score
    jobs.end(first, JobState.SUCCEEDED, progress=PROGRESS)
    claim = jobs.claim("short", 30, kinds=short)
    assert claim is not None
    assert claim.job.id == split


def test_who_was_served_may_be_forgotten(jobs: JobStore, player: Player, state: State) -> None:
    queue(player, *"aab")
    assert claim_order(jobs, 1) == ["a"]
    state.client.delete(state.keys.jobs.served)
    assert "".join(claim_order(jobs, 2)) == "ab", "the older one, where nothing is known"


def test_only_so_many_may_wait(jobs: JobStore, player: Player, state: State) -> None:
    dataset = state.datasets.get("a")

    def send(key: str | None = None) -> str:
        idempotency = None if key is None else (key, "request")
        return jobs.create(dataset, JobKind.SCORE, "demo", {}, idempotency, most_waiting=3)[0].id

    sent = [send("k"), send(), send()]
    with pytest.raises(Busy) as raised:
        send("other")
    assert raised.value.code == "queue_full"
    assert send("k") == sent[0], "a request that is sent again gets its job"
    assert jobs.waiting() == 3
    claimed(jobs)
    assert send("other") not in sent, "a refused request has left nothing behind"
    with ThreadPoolExecutor(8) as pool:
        refused = [_refused(future) for future in [pool.submit(send) for _ in range(16)]]
    assert (sum(refused), jobs.waiting()) == (16, 3)


def _refused(sent: Future[str]) -> bool:
    try:
        sent.result()
    except Busy:
        return True
    return False


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


def watch(jobs: JobStore) -> list[str]:
    """Looks after the leases as the API does."""
    return jobs.reap(3, lease_seconds=SHORT, longest_gap_seconds=10 * SHORT)


def test_after_a_gap_in_which_nobody_looked_every_lease_starts_anew(jobs: JobStore, player: Player) -> None:
    """The server was away, was stopped or refused writes: nobody could renew."""
    queue(player, "a")
    claimed(jobs, SHORT)
    time.sleep(11 * SHORT)
    assert watch(jobs) == [], "the first look ever is one after a gap"
    wait_until(lambda: len(watch(jobs)) == 1)


@pytest.mark.parametrize("jump", [-3600.0, 3600.0], ids=["back", "forward"])
def test_a_clock_that_jumps_neither_takes_jobs_nor_keeps_them(
    jobs: JobStore, player: Player, state: State, jump: float
) -> None:
    """Jumping the clock by d is moving every time that the server noted by -d."""
    queue(player, "a")
    claim = claimed(jobs)
    watch(jobs)
    keys = state.keys.jobs
    state.client.zincrby(keys.leases, -jump * 1000, claim.job.id)
    state.client.incrby(keys.watched, int(-jump * 1000))
    assert watch(jobs) == []
    assert jobs.renew(claim, SHORT, None) == "ok"
    wait_until(lambda: watch(jobs) == [claim.job.id])
    queued = jobs.get(claim.job.id)
    assert queued.state is JobState.QUEUED
    assert claimed(jobs).token > claim.token


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


# -- leases that ran out while nobody else was there ----------------------------------------------------
def test_a_worker_that_was_away_takes_its_job_again(jobs: JobStore, player: Player) -> None:
    (job_id,) = queue(player, "a")
    claim = claimed(jobs, SHORT)
    assert reap(jobs, max_crashes=2) == [job_id]
    assert jobs.renew(claim, SHORT, None) == "ok"
    held = jobs.get(job_id)
    assert (held.state, held.attempt) == (JobState.RUNNING, 1)
    assert jobs.waiting() == 0
    assert jobs.claim("other", 30) is None
    assert reap(jobs, max_crashes=2) == [job_id]
    assert jobs.get(job_id).state is JobState.QUEUED, "the first time counted as a crash"


def test_a_claim_that_the_server_lost_is_taken_again(jobs: JobStore, player: Player, state: State) -> None:
    """The server went back to before the claim; the worker runs on and nobody else came."""
    (job_id,) = queue(player, "a")
    before = everything(state)
    claim = claimed(jobs)
    restore(state, before)
    assert jobs.get(job_id).state is JobState.QUEUED
    assert jobs.renew(claim, 30, None) == "ok"
    assert (jobs.get(job_id).state, jobs.get(job_id).attempt) == (JobState.RUNNING, 1)
    assert jobs.claim("other", 30) is None
    jobs.end(claim, JobState.SUCCEEDED, progress=PROGRESS)
    queue(player, "a")
    assert claimed(jobs).token > claim.token


def test_of_two_workers_that_both_believe_the_later_one_holds_the_job(
    jobs: JobStore, player: Player, state: State
) -> None:
    """The server lost the first one's claim and gave the job to another."""
    queue(player, "a")
    before = everything(state)
    first = claimed(jobs)
    restore(state, before)
    second = claimed(jobs)
    assert second.token > first.token
    for _ in range(2):
        with pytest.raises(StaleWorker):
            jobs.renew(first, 30, None)
        assert jobs.renew(second, 30, None) == "ok"


def test_a_lost_claim_is_not_taken_again_while_another_job_has_the_dataset(
    jobs: JobStore, player: Player, state: State
) -> None:
    """The server went back to before the end of the first job: that one comes first."""
    first, _ = queue(player, "a", "a")
    running = claimed(jobs)
    before = everything(state)
    jobs.end(running, JobState.SUCCEEDED, progress=PROGRESS)
    second = claimed(jobs)
    restore(state, before)
    assert jobs.get(first).state is JobState.RUNNING
    with pytest.raises(StaleWorker):
        jobs.renew(second, 30, None)


def everything(state: State) -> dict[bytes, bytes]:
    """The keys of the job queue as they are."""
    keys = list(state.client.scan_iter(match=f"{state.keys.jobs.base}:*"))
    return {key: state.client.dump(key) for key in keys}


def restore(state: State, before: dict[bytes, bytes]) -> None:
    for key in state.client.scan_iter(match=f"{state.keys.jobs.base}:*"):
        state.client.delete(key)
    for key, value in before.items():
        state.client.restore(key, 0, value)


# -- calls that are sent again ---------------------------------------------------------------------------
def test_a_call_that_is_sent_again_changes_nothing(jobs: JobStore, player: Player, state: State) -> None:
    """The connection broke after the server had done what it was asked."""
    dataset = state.datasets.get("a")
    job_id = new_job_id()
    jobs.create(dataset, JobKind.SCORE, "demo", {}, None, job_id)
    queue(player, "b")
    claim = jobs.claim("w", 30, "call")
    assert jobs.claim("w", 30, "call") == claim
    assert jobs.waiting() == 1
    jobs.create(dataset, JobKind.SCORE, "demo", {}, None, job_id)
    assert jobs.get(job_id).state is JobState.RUNNING
    assert claim is not None
    for _ in range(2):
        jobs.end(claim, JobState.SUCCEEDED, progress=PROGRESS, result={"n": 1})
    with pytest.raises(StaleWorker):
        jobs.end(claim, JobState.FAILED, progress=PROGRESS)
    assert jobs.get(job_id).state is JobState.SUCCEEDED


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
    assert jobs.present.count() == 0
    jobs.present.beat("w1", 30)
    jobs.present.beat("w2", SHORT)
    jobs.present.beat("w1", 30)
    wait_until(lambda: jobs.present.count() == 1)
    jobs.leave("w1")
    assert jobs.present.count() == 0
