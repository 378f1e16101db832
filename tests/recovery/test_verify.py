"""`verify` finds what was planted, names it, and finds nothing where nothing is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.contracts import Dataset, JobState
from app.errors import NotFound
from app.ingest.writing import delete_sample
from app.services.verify import Finding, verify
from app.settings import Settings
from app.store.content import ENTRY_COLUMNS
from app.store.ids import index_place
from app.store.keys import DatasetKeys
from app.store.records import Ledger, Records, pack_shard
from app.store.state import State, open_state
from app.store.unfinished import finish_all_writes
from tests.recovery.keyspace import everything
from tests.workers.conftest import Bench, Row, short_reviews
from tests.workers.test_resume import Killed, kill_after, take_back
from workers.runner import run_claimed
from workers.score.book import ScoreBook

MakeRows = Callable[[int], list[Row]]


def findings(state: State, *names: str) -> list[Finding]:
    return list(verify(state, names, lambda _: None))


@dataclass(frozen=True)
class Scored:
    """A dataset of 40 samples with two runs, a changed and a deleted sample: clean until it is not."""

    state: State
    bench: Bench
    dataset: Dataset
    files: Path

    @property
    def keys(self) -> DatasetKeys:
        return self.state.keys.dataset(self.dataset.uid)

    @property
    def lineage(self) -> str:
        lineage = self.state.datasets.get("d").lineage
        assert lineage is not None
        return lineage

    def alter_shard(self, alter: Callable[[Records], None] | None = None, **ledger: int) -> None:
        held, records = self.state.scores.read_shards(self.dataset.uid, self.lineage, [0])[0]
        if alter is not None:
            alter(records)
        blob = pack_shard(held._replace(**ledger), records)
        self.state.client.set(self.keys.shard(self.lineage, 0), blob)

    def alter_entry(self, sample_id: str, **fields: int) -> None:
        entry = self.state.ids.find(self.dataset, sample_id)
        assert entry is not None
        self.state.ids.commit(self.dataset, [(sample_id, entry._replace(**fields))], [])

    def index_of(self, sample_id: str) -> tuple[str, str]:
        entry = self.state.ids.find(self.dataset, sample_id)
        assert entry is not None
        place, mark = index_place(sample_id, entry.ordinal)
        return self.keys.index_prefix() + place, str(mark)

    def flip(self, pattern: str, at: int = 5) -> str:
        """Flips a bit of the first key that holds this."""
        key = min(key for key in everything(self.state) if pattern in key)
        blob = bytearray(self.state.client.get(key))  # type: ignore[arg-type]
        blob[at] ^= 1
        self.state.client.set(key, bytes(blob))
        return key

    def file(self, pattern: str) -> Path:
        return min(self.files.glob(f"archive/datasets/d-*/{pattern}"))


@pytest.fixture(scope="module")
def original(redis_url: str, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """What each test gets a copy of: two runs, a changed and a deleted sample."""
    place = tmp_path_factory.mktemp("original")
    settings = Settings(
        redis_url=redis_url,
        data_url=str(place),
        key_prefix="original",
        allowed_models=(str(tiny_model),),
    )
    state = open_state(settings)
    bench = Bench(state, settings, tiny_model)
    dataset = bench.dataset(short_reviews(40))
    for seed in (0, 1):
        assert bench.run(seed=seed, num_train_epochs=1).state is JobState.SUCCEEDED
    delete_sample(state, dataset, "s0039")
    bench.send(dataset, [{"id": "s0002", "text": "something else", "label": 0}])
    yield bench
    state.close()


@pytest.fixture
def scored(original: Bench, bench: Bench, tmp_path: Path) -> Scored:
    for place in ("datasets", "archive"):
        shutil.copytree(Path(original.settings.data_url) / place, tmp_path / place)
    for key in original.state.client.scan_iter(match="original:*", count=1000):
        own = bench.settings.key_prefix + key.decode().removeprefix("original")
        bench.state.client.copy(key.decode(), own)
    assert findings(bench.state) == []
    return Scored(bench.state, bench, bench.state.datasets.get("d"), tmp_path)


def add(records: Records, field: str, value: float) -> None:
    records[field][7] += value


def _set(records: Records, field: str, value: float) -> None:
    records[field][7] = value


def _alter_text(scored: Scored) -> None:
    row = scored.state.samples.between(scored.dataset, 7, 8, ENTRY_COLUMNS)[0]
    import pyarrow as pa

    from app.store.samples import SCHEMA

    rows = pa.Table.from_pylist([row | {"text": "altered"}], schema=SCHEMA)
    scored.state.samples.write(scored.dataset, rows, all_new=False)


def _break_file(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)


PLANTED: dict[str, tuple[Callable[[Scored], object], set[str], str | None]] = {
    # name: what is done, the checks that find it (one of them), the sample that is named
    "a sum": (lambda s: s.alter_shard(lambda r: add(r, "grad_norm_sum", 1e-9)), {"sums"}, "s0007"),
    "a count of visits": (lambda s: s.alter_shard(lambda r: add(r, "visits", 1)), {"sums"}, "s0007"),
    "not a number": (
        lambda s: s.alter_shard(lambda r: _set(r, "grad_norm_sum", np.nan)),
        {"records"},
        "s0007",
    ),
    "a generation of the future": (
        lambda s: s.alter_shard(lambda r: add(r, "generation", 1)),
        {"records"},
        "s0007",
    ),
    "an older ledger": (lambda s: s.alter_shard(run=1), {"ledger"}, None),
    "a run that never was": (lambda s: s.alter_shard(run=9), {"ledger"}, None),
    "a fence that never was": (lambda s: s.alter_shard(fence=2**60), {"ledger"}, None),
    "a lost shard": (lambda s: s.state.client.delete(s.keys.shard(s.lineage, 0)), {"ledger"}, None),
    "half a shard": (lambda s: s.state.client.set(s.keys.shard(s.lineage, 0), b"GS"), {"ledger"}, None),
    "another digest": (lambda s: s.alter_entry("s0007", attributes=1), {"ids"}, "s0007"),
    "another generation": (lambda s: s.alter_entry("s0007", generation=3), {"ids"}, "s0007"),
    "a lost id": (lambda s: s.state.ids.commit(s.dataset, [("s0007", None)], []), {"ids"}, "s0007"),
    "a lost place in the index": (
        lambda s: s.state.client.hdel(*s.index_of("s0007")),
        {"index"},
        "s0007",
    ),
    "a place in the index that leads astray": (
        lambda s: s.state.client.hset(s.keys.index_prefix() + "0:3", "7", "12"),
        {"index"},
        "s0012",
    ),
    "an id without a sample": (lambda s: s.state.ids.assign(s.dataset, ["ghost"]), {"ids"}, "ghost"),
    "a row that went": (lambda s: s.state.samples.delete(s.dataset, 7), {"ids"}, "s0007"),
    "another text": (_alter_text, {"ids"}, "s0007"),
    "a count of void members": (
        lambda s: s.state.client.hincrby(s.keys.versions, "2:void:2", 1),
        {"void"},
        None,
    ),
    "sizes of a version": (
        lambda s: s.state.client.hset(
            s.keys.versions,
            "2",
            s.state.client.hget(s.keys.versions, "2").replace(b'"core":20', b'"core":21'),  # type: ignore[union-attr]
        ),
        {"versions"},
        None,
    ),
    "a cell of a version": (lambda s: s.flip(":v:2:c:"), {"sets"}, "*"),
    "a member of an old version": (lambda s: s.flip(":v:1:m:core:", at=0), {"sets"}, "*"),
    "a lost version": (lambda s: s.state.client.hdel(s.keys.versions, "2"), {"versions"}, None),
    "a lost lineage": (lambda s: s.state.client.delete(s.keys.lineage(s.lineage)), {"lineage"}, None),
    "a counter set back": (
        lambda s: s.state.client.hset(s.keys.meta, "next_ordinal", "7"),
        {"ordinals"},
        None,
    ),
    "a field of the meta hash": (
        lambda s: s.state.client.hset(s.keys.meta, "task", "relevance"),
        {"meta"},
        None,
    ),
    "a fence without a token": (
        lambda s: s.state.client.hset(s.keys.meta, "fence", str(2**60)),
        {"fence"},
        None,
    ),
    "a shard of no lineage": (
        lambda s: s.state.client.set(s.keys.shard("lin_nobody", 0), b"x"),
        {"orphan"},
        None,
    ),
    "a lost meta hash": (lambda s: s.state.client.delete(s.keys.meta), {"registry"}, None),
    "a lost table": (
        lambda s: shutil.rmtree(next(s.files.glob("datasets/d-*.lance"))),
        {"samples"},
        None,
    ),
    "a key of no dataset": (
        lambda s: s.state.client.set(s.state.keys.dataset("abc123").versions, b"x"),
        {"orphan"},
        None,
    ),
    "a name that leads elsewhere": (
        lambda s: s.state.client.hset(s.state.keys.datasets, "other", s.dataset.uid),
        {"registry"},
        None,
    ),
    "a job in the queue that is none": (
        lambda s: s.state.client.zadd(s.state.keys.jobs.queue, {"job_x": 1}),
        {"jobs"},
        None,
    ),
    "a running job without a lease": (
        lambda s: [
            s.bench.queue(),
            s.bench.claim(),
            s.state.client.delete(s.state.keys.jobs.leases),
        ],
        {"jobs"},
        None,
    ),
    "a damaged epoch": (lambda s: _break_file(s.file("lineages/*/run-000001/epoch-*")), {"archive"}, None),
    "a lost epoch": (lambda s: s.file("lineages/*/run-000001/epoch-*").unlink(), {"archive"}, None),
    "a damaged version": (lambda s: _break_file(s.file("sets/00000001-*")), {"archive"}, None),
    "a lost manifest": (lambda s: s.file("manifest.json").unlink(), {"archive"}, None),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found_and_named(scored: Scored, name: str) -> None:
    plant, checks, sample = PLANTED[name]
    plant(scored)
    found = findings(scored.state)
    told = [one for one in found if one.check in checks]
    assert told, found
    if sample is not None:
        assert any(one.sample is not None and sample in (one.sample, "*") for one in told), found
    if told[0].check not in ("jobs", "orphan", "registry"):
        assert told[0].dataset == "d"
    if told[0].check not in ("archive", "samples"):
        assert told[0].key


def test_a_batch_whose_writer_died_is_told_and_finished_at_the_next_start(
    scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = scored.state

    def dies(*_: Any) -> None:
        raise Killed

    new = [{"id": "late", "text": "a late one", "label": 1}, {"id": "s0003", "text": "changed", "label": 1}]
    with monkeypatch.context() as patch:
        patch.setattr(state.ids, "commit", dies)
        with pytest.raises(Killed):
            scored.bench.send(scored.dataset, new)
    assert state.ids.find(scored.dataset, "late") is None
    assert {"unfinished", "ids"} <= {one.check for one in findings(state)}
    finish_all_writes(state)
    assert findings(state) == []
    assert [score["visits"] for score in scored.bench.scores(["late", "s0003"])] == [0, 0]


def test_a_batch_whose_rows_were_never_stored_is_forgotten_by_the_next_writer(
    scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = scored.state

    def dies(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(state.samples, "write", dies)
        with pytest.raises(Killed):
            scored.bench.send(scored.dataset, [{"id": "late", "text": "a late one", "label": 1}])
    scored.bench.send(scored.dataset, [{"id": "later", "text": "another", "label": 1}])
    assert findings(state) == []
    later = state.ids.find(scored.dataset, "later")
    assert later is not None
    assert later.ordinal == 41  # 40 was given, and is not given again


def test_a_deletion_whose_writer_died_is_finished(scored: Scored, monkeypatch: pytest.MonkeyPatch) -> None:
    state = scored.state

    def dies(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(state.ids, "commit", dies)
        with pytest.raises(Killed):
            delete_sample(state, scored.dataset, "s0004")
    finish_all_writes(state)
    assert state.ids.find(scored.dataset, "s0004") is None
    assert findings(state) == []
    assert sum(state.sets.version(state.datasets.get("d"), None).sizes.values()) == 37


def test_nothing_is_found_while_a_job_runs_is_killed_and_resumes(
    short_lease: Bench, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = short_lease
    bench.dataset(make_rows(40))
    assert bench.run().state is JobState.SUCCEEDED
    bench.queue(seed=1, num_train_epochs=3)
    flush, found = ScoreBook.flush, []

    def watched_flush(book: ScoreBook, step: int) -> None:
        flush(book, step)
        found.extend(findings(bench.state))

    with monkeypatch.context() as patch:
        patch.setattr(ScoreBook, "flush", watched_flush)
        with monkeypatch.context() as kill:
            kill_after(kill, ScoreBook, "flush", 7)
            with pytest.raises(Killed):
                run_claimed(bench.state, bench.settings, bench.claim())
        found += findings(bench.state)
        take_back(bench)
        found += findings(bench.state)
        run_claimed(bench.state, bench.settings, bench.claim())
    assert found + findings(bench.state) == []


def test_predictors_and_what_waits_for_them_are_no_findings(scored: Scored) -> None:
    state, keys = scored.state, scored.state.keys.predictions
    state.predictions.present.beat("p", 30.0)
    state.client.rpush(keys.queue, "one")
    state.client.hset(keys.asked("one"), "job", "job_x")
    state.client.rpush(keys.answer("two"), "{}")
    assert findings(state) == []


def test_an_unknown_dataset_is_told(scored: Scored) -> None:
    assert findings(scored.state, "d") == []
    with pytest.raises(NotFound):
        findings(scored.state, "d", "nobody")


def test_a_write_that_is_under_way_is_no_finding(scored: Scored, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are stored, the ids not yet: suspicious, until the lock is free and the batch is whole."""
    import threading

    state, commit = scored.state, scored.state.ids.commit
    stored, looked = threading.Event(), threading.Event()

    def slow_commit(*args: Any) -> None:
        stored.set()
        looked.wait(10)
        commit(*args)

    monkeypatch.setattr(state.ids, "commit", slow_commit)
    names = state.ids.entries

    def entries(*args: Any) -> Any:
        answer = names(*args)
        looked.set()  # what verify has seen is half a batch; now it will wait for the lock
        return answer

    monkeypatch.setattr(state.ids, "entries", entries)
    writer = threading.Thread(
        target=scored.bench.send, args=(scored.dataset, [{"id": "new", "text": "n", "label": 1}])
    )
    writer.start()
    assert stored.wait(10)
    found = findings(state, "d")
    writer.join(10)
    assert found == []
    assert looked.is_set()


def test_the_ledger_type_is_what_the_corruptions_assume() -> None:
    assert Ledger._fields == ("fence", "run", "step")
