"""A backup holds the behaviour log and its catalogue; users need their key."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import msgspec
import pytest

from app.contracts import Dataset, JobKind, JobState, Task
from app.errors import Conflict
from app.ingest.event_rows import event_reader
from app.ingest.event_writing import EventIngest
from app.services.backup import backup
from app.services.datasets import put_dataset
from app.services.restore import restore
from app.services.verify import verify
from app.store.pseudonyms import KEY_FILE
from tests.recovery.keyspace import lose_redis
from tests.workers.conftest import Bench


def silent(*_: object) -> None:
    pass


def send(bench: Bench, dataset: Dataset, users: int) -> int:
    ingest = EventIngest(bench.state, bench.settings, dataset)
    rows = [
        {"user": user, "item": at % 5, "behavior": "buy", "timestamp": at * 3600, "item_text": f"item {at}"}
        for user in range(users)
        for at in range(6)
    ]
    ingest.add([partial(event_reader().from_json, msgspec.json.encode(row)) for row in rows])
    return ingest.report.created


@pytest.mark.parametrize("key_is_kept", [True, False])
def test_events_come_back(bench: Bench, tmp_path: Path, *, key_is_kept: bool) -> None:
    dataset, _ = put_dataset(bench.state, "d", Task.RELEVANCE, None, None)
    put_dataset(bench.state, "without", Task.RELEVANCE, None, None)
    assert send(bench, dataset, 3) == 18
    result = bench.run(kind=JobKind.LABEL).result
    backup(bench.state, str(tmp_path / "backup"), silent)
    assert not list((tmp_path / "backup").rglob(KEY_FILE))
    lose_redis(bench.state)
    for place in ("datasets", "archive", "jobs", "results"):
        shutil.rmtree(tmp_path / place, ignore_errors=True)
    if not key_is_kept:
        (tmp_path / KEY_FILE).unlink()
    restore(bench.state, str(tmp_path / "backup"), silent)
    assert list(verify(bench.state, [], silent)) == []
    dataset = bench.state.datasets.get("d")
    if key_is_kept:
        assert send(bench, dataset, 4) == 6
    else:
        with pytest.raises(Conflict) as refused:
            send(bench, dataset, 4)
        assert refused.value.code == "pseudonym_key_changed"
    job = bench.run(kind=JobKind.LABEL)
    assert job.state is JobState.SUCCEEDED, job.error
    if not key_is_kept:  # nothing new has come in: the samples are what they were
        assert result is not None
        assert (job.result or {})["samples"]["unchanged"] == result["samples"]["total"]
