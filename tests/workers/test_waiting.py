"""A job that meets a full disk or a store that does not answer waits for it; what it leaves is swept up."""

from __future__ import annotations

import errno
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from app.contracts import JobState
from app.errors import Unavailable
from app.services import jobs_left
from app.store.artifacts import ArtifactStore
from app.store.samples import SampleStore
from tests.processes import python
from tests.workers.conftest import Bench, Row
from workers import runner
from workers.runner import run_claimed
from workers.score import room
from workers.score.checkpoint import BASE, CHECKPOINT

MakeRows = Callable[[int], list[Row]]


def full_disk(monkeypatch: pytest.MonkeyPatch, name: str, times: int) -> list[str]:
    """The first `times` writes of this file find no room; answers the writes that were tried."""
    write, tried = ArtifactStore.write, []

    def refusing(store: ArtifactStore, file: str, content: bytes | memoryview) -> None:
        if file == name:
            tried.append(file)
            if len(tried) <= times:
                raise OSError(errno.ENOSPC, "No space left on device")
        write(store, file, content)

    monkeypatch.setattr(ArtifactStore, "write", refusing)
    monkeypatch.setattr(room, "ROOM_SECONDS", 0.01)
    return tried


def test_a_job_goes_on_without_checkpoints_while_the_disk_is_full(
    bench: Bench, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.settings = bench.settings.model_copy(update={"checkpoint_seconds": 0.0})
    bench.dataset(make_rows(24))
    tried = full_disk(monkeypatch, CHECKPOINT, 3)
    job = bench.run()
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
    assert len(tried) > 3
    assert {score["visits"] for score in bench.scores(["s0000", "s0023"])} == {2}


def test_a_job_waits_where_it_could_not_be_resumed_without_a_file(
    bench: Bench, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.dataset(make_rows(24))
    tried = full_disk(monkeypatch, BASE, 3)
    job = bench.run()
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
    assert len(tried) == 4


def test_a_job_goes_back_to_the_queue_while_a_store_does_not_answer(
    bench: Bench, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.dataset(make_rows(24))
    job = bench.queue()
    monkeypatch.setattr(runner, "UNAVAILABLE_SECONDS", 0.0)

    def silent(*_: object) -> int:
        raise Unavailable("service_unavailable", "the sample store: connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(SampleStore, "pin", silent)
        assert run_claimed(bench.state, bench.settings, bench.claim()) is False
    held = bench.state.jobs.get(job.id)
    assert (held.state, held.error) == (JobState.QUEUED, None)
    run_claimed(bench.state, bench.settings, bench.claim())
    assert bench.state.jobs.get(job.id).state is JobState.SUCCEEDED


def test_what_a_job_leaves_is_swept_up_a_while_after_its_end(
    bench: Bench, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = bench.dataset(make_rows(24))
    job = bench.run()
    waiting = bench.queue()
    claim = bench.claim()
    ArtifactStore(bench.settings.data_url, waiting.id).write(BASE, b"")
    jobs = Path(bench.settings.data_url) / "jobs"
    jobs_left.sweep(bench.state, bench.settings)
    assert {path.name for path in jobs.iterdir()} == {job.id, waiting.id}
    monkeypatch.setattr(jobs_left, "KEPT_AFTER_END", timedelta(0))
    jobs_left.sweep(bench.state, bench.settings)
    assert {path.name for path in jobs.iterdir()} == {waiting.id}, "a running job's files are gone"
    assert job.id not in bench.state.samples.table(dataset).tags.list()
    assert bench.state.jobs.renew(claim, 30, None) == "ok"


LITTLE_ROOM = """
import resource, sys
from app.store.artifacts import ArtifactStore
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    ArtifactStore(sys.argv[1], "job_1").write("checkpoint", bytes(100_000))
except OSError as error:
    print(error.errno)
"""


def test_half_a_file_takes_no_room_on_a_full_disk(tmp_path: Path) -> None:
    output, _ = python(LITTLE_ROOM, str(tmp_path)).communicate(timeout=30)
    assert output.strip() == str(errno.EFBIG)
    assert list((tmp_path / "jobs" / "job_1").iterdir()) == []
