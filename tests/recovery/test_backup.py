"""A backup taken beside a running job, everything wiped, and all of it back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.contracts import JobKind, JobState
from app.errors import Conflict, Damaged
from app.ingest.writing import delete_sample
from app.services.backup import backup
from app.services.job_files import job_files, open_job_file
from app.services.restore import restore
from app.services.verify import verify
from tests.recovery.keyspace import lose_redis, rebuilt_part
from tests.workers.conftest import Bench, Row
from workers.runner import run_claimed
from workers.score.book import ScoreBook

MakeRows = Callable[[int], list[Row]]


def silent(*_: object) -> None:
    pass


def wipe(bench: Bench, tmp_path: Path) -> None:
    lose_redis(bench.state)
    for place in ("datasets", "archive", "jobs", "responses", "results"):
        shutil.rmtree(tmp_path / place, ignore_errors=True)


@pytest.fixture
def taken(bench: Bench, make_rows: MakeRows, tmp_path: Path) -> Path:
    """A backup of two datasets, one of them scored and changed since."""
    dataset = bench.dataset(make_rows(40))
    assert bench.run(response="vector", projection_dim=16).state is JobState.SUCCEEDED
    delete_sample(bench.state, dataset, "s0003")
    bench.send(dataset, [{"id": "s0005", "text": "other", "label": 1, "meta": {"a": [1][0]}}])
    bench.dataset(make_rows(5), name="other")
    backup(bench.state, str(tmp_path / "backup"), silent)
    return tmp_path / "backup"


def test_all_comes_back(bench: Bench, taken: Path, tmp_path: Path) -> None:
    before = rebuilt_part(bench.state)
    responses = [file.read_bytes() for file in sorted(tmp_path.glob("responses/**/*.parquet"))]
    assert len(responses) == 1
    wipe(bench, tmp_path)
    restore(bench.state, str(taken), silent)
    assert rebuilt_part(bench.state) == before
    assert [file.read_bytes() for file in sorted(tmp_path.glob("responses/**/*.parquet"))] == responses
    assert list(verify(bench.state, [], silent)) == []
    assert bench.run(seed=1).state is JobState.SUCCEEDED
    scores = bench.scores([f"s{i:04}" for i in range(40) if i not in (3, 5)])
    assert {score["visits"] for score in scores} == {4}
    assert list(verify(bench.state, [], silent)) == []


def test_files_of_jobs_come_back_if_the_job_has_ended_well(
    bench: Bench, make_rows: MakeRows, tmp_path: Path
) -> None:
    bench.dataset(make_rows(12))
    job = bench.run(kind=JobKind.TRAIN, set="full", num_train_epochs=1)
    weights = b"".join(open_job_file(bench.state, job.id, "model/model.safetensors")[1])
    names = [file.name for file in job_files(bench.state, job.id)]
    waiting = bench.queue(kind=JobKind.TRAIN, set="full")
    uid = bench.state.datasets.get("d").uid
    bench.state.results.of_job(uid, waiting.id).write("model/half", b"written by an attempt")
    backup(bench.state, str(tmp_path / "backup"), silent)
    wipe(bench, tmp_path)
    restore(bench.state, str(tmp_path / "backup"), silent)
    assert [file.name for file in job_files(bench.state, job.id)] == names
    assert b"".join(open_job_file(bench.state, job.id, "model/model.safetensors")[1]) == weights
    assert bench.state.results.of_job(uid, waiting.id).names() == []


def test_later_writes_are_not_in_it(bench: Bench, taken: Path, tmp_path: Path) -> None:
    before = rebuilt_part(bench.state)
    bench.send(bench.state.datasets.get("d"), [{"id": "later", "text": "late", "label": 1}])
    assert bench.run(seed=1).state is JobState.SUCCEEDED
    wipe(bench, tmp_path)
    restore(bench.state, str(taken), silent)
    assert rebuilt_part(bench.state) == before


def test_taken_in_the_middle_of_a_job_it_holds_the_job_as_queued(
    bench: Bench, make_rows: MakeRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.dataset(make_rows(40))
    assert bench.run().state is JobState.SUCCEEDED
    job = bench.queue(seed=1, num_train_epochs=3)
    flush, places = ScoreBook.flush, [tmp_path / f"backup{n}" for n in range(15)]

    def backed_up_flush(book: ScoreBook, step: int) -> None:
        flush(book, step)
        if step in (2, 8, 14):
            backup(bench.state, str(places[step]), silent)

    with monkeypatch.context() as patch:
        patch.setattr(ScoreBook, "flush", backed_up_flush)
        run_claimed(bench.state, bench.settings, bench.claim())
    assert bench.state.jobs.get(job.id).state is JobState.SUCCEEDED
    for step in (2, 8, 14):
        wipe(bench, tmp_path)
        restore(bench.state, str(places[step]), silent)
        assert list(verify(bench.state, [], silent)) == []
        assert (bench.state.jobs.get(job.id).state, bench.state.jobs.get(job.id).attempt) == ("queued", 0)
        ids = [f"s{i:04}" for i in range(40)]
        assert {score["visits"] for score in bench.scores(ids)} == {2}
        run_claimed(bench.state, bench.settings, bench.claim())
        assert bench.state.jobs.get(job.id).state is JobState.SUCCEEDED
        assert {score["visits"] for score in bench.scores(ids)} == {5}
        assert list(verify(bench.state, [], silent)) == []


def test_nothing_is_overwritten(bench: Bench, taken: Path) -> None:
    with pytest.raises(Conflict, match="holds files already"):
        backup(bench.state, str(taken), silent)
    before = rebuilt_part(bench.state)
    with pytest.raises(Conflict, match="already"):
        restore(bench.state, str(taken), silent)
    assert rebuilt_part(bench.state) == before


@pytest.mark.parametrize("how", ["altered", "cut", "gone", "unfinished", "other format", "no catalogue"])
def test_what_is_no_whole_backup_is_refused(bench: Bench, taken: Path, tmp_path: Path, how: str) -> None:
    file = next(taken.glob("datasets/d-*/samples.parquet"))
    catalogue = taken / "backup.json"
    if how == "altered":
        content = bytearray(file.read_bytes())
        content[100] ^= 1
        file.write_bytes(content)
    elif how == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    elif how == "gone":
        file.unlink()
    elif how == "unfinished":
        catalogue.unlink()
    elif how == "other format":
        catalogue.write_text(json.dumps(json.loads(catalogue.read_text()) | {"format": 9}))
    else:
        catalogue.write_text("{")
    wipe(bench, tmp_path)
    with pytest.raises(Damaged):
        restore(bench.state, str(taken), silent)
    assert bench.state.datasets.names() == []
    assert not (tmp_path / "archive").exists()
