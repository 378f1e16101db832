"""Housekeeping beside a service: few fragments, few versions, deleted samples that vanish from all files."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.contracts import Claim, Dataset, JobKind, JobState, Progress, Verdict
from app.ingest.writing import delete_sample
from app.services.housekeeping import Housekeeper
from app.services.reviews import add_review
from app.services.scrubbing import without
from app.services.usage import usage
from app.services.verify import verify
from app.services.verify.findings import Finding
from app.settings import Settings
from app.store.deletions import DeletionNotes
from app.store.embedded import EmbeddedRedis
from app.store.explanations import Explanation, SeenSamples
from app.store.leftovers import remove_leftovers
from app.store.state import State, open_state
from tests.playing import Player
from tests.processes import wait_until

SECRET = "the words that nobody may find any more"
OLD_SECRET = "how it was put before"
ID = "person-of-7"


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[tuple[State, Settings, Player]]:
    """A data directory with all state in it, that of Redis too, whose old versions are for nobody."""
    with EmbeddedRedis(tmp_path / "data") as server:
        settings = Settings(
            redis_url=server.url, data_url=str(tmp_path / "data"), key_prefix="t", versions_kept_seconds=0.0
        )
        state = open_state(settings)
        yield state, settings, Player(state, settings)
        state.close()


def rows(count: int, first: int = 0) -> list[dict[str, object]]:
    numbers = range(first, first + count)
    return [{"id": f"s{n}", "text": f"words of sample {n}", "label": "ab"[n % 2]} for n in numbers]


def files_with(folder: Path, *words: str) -> set[str]:
    """Every file whose bytes hold one of the words."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file() and any(word.encode() in path.read_bytes() for word in words):
            found.add(str(path.relative_to(folder)))
    return found


def fragments(state: State, dataset: Dataset) -> int:
    return len(state.samples.table(dataset).get_fragments())


def table_of(state: State, dataset: Dataset) -> lance.LanceDataset:
    return state.samples.table(dataset)


def test_scattered_tables_are_compacted_while_others_write(
    player: Player, state: State, settings: Settings
) -> None:
    dataset = player.dataset()
    for n in range(70):
        player.send(dataset, rows(2, first=2 * n))
    assert fragments(state, dataset) >= 64
    housekeeper, errors = Housekeeper(state, settings), []
    stop = threading.Event()

    def write() -> None:
        n = 1000
        own = open_state(settings)
        writer = Player(own, settings)
        try:
            while not stop.is_set():
                n += 1
                report = writer.send(
                    dataset, [{"id": f"s{n % 5}", "text": f"changed {n}"}, *rows(1, first=n)]
                )
                if report.created + report.updated != 2:
                    errors.append(report)
        except Exception as error:  # noqa: BLE001
            errors.append(error)
        finally:
            own.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(4):
            assert housekeeper.round()
    finally:
        stop.set()
        thread.join()
    assert errors == []
    assert fragments(state, dataset) < 64
    found = state.samples.table(dataset).to_table(columns=["id"])["id"].to_pylist()
    assert len(found) == len(set(found)) == state.datasets.next_ordinal(dataset)
    assert findings(state) == []


def findings(state: State) -> list[Finding]:
    return list(verify(state, [], lambda _: None))


def test_old_versions_go_and_those_that_are_used_stay(
    player: Player, state: State, make_settings: Callable[..., Settings]
) -> None:
    dataset = player.dataset(rows(5))
    for n in range(5):
        player.send(dataset, rows(1, first=10 + n))
    pinned = state.samples.pin(dataset, "backup-x")
    waiting = player.queue()
    job_version = state.samples.pin(dataset, waiting.id)
    state.samples.pin(dataset, "job_that_never_was")
    for n in range(5):
        player.send(dataset, rows(1, first=20 + n))
    before = len(table_of(state, dataset).versions())
    Housekeeper(state, make_settings()).round()
    assert len(table_of(state, dataset).versions()) == before, "readers have an hour"
    Housekeeper(state, make_settings(versions_kept_seconds=0.0)).round()
    kept = {version["version"] for version in table_of(state, dataset).versions()}
    assert kept == {pinned, job_version, table_of(state, dataset).version}
    assert set(table_of(state, dataset).tags.list()) == {"backup-x", waiting.id}


def test_one_process_at_a_time(player: Player, state: State, settings: Settings) -> None:
    player.dataset(rows(2))
    key = state.keys.housekeeping
    state.client.set(key, "another", ex=60)
    assert not Housekeeper(state, settings).round()
    state.client.delete(key)
    assert Housekeeper(state, settings).round()
    assert not state.client.exists(key)


def test_a_writer_that_is_quicker_waits_the_next_time(
    player: Player, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = player.dataset(rows(20))
    delete_sample(state, dataset, "s3")
    held: list[int] = []
    going = iter(["s4", "s6"])

    @contextmanager
    def writing() -> Iterator[None]:
        """The first time another row of the same fragment goes while it is rewritten."""
        if not held:
            delete_sample(state, dataset, next(going))
        held.append(state.samples.count(dataset))
        with state.datasets.writing(dataset):
            yield

    upkeep = state.samples.upkeep(dataset, writing)
    assert upkeep.purge() == table_of(state, dataset).version
    assert held == [18, 18]
    assert upkeep.deletions() == 0
    assert state.samples.count(dataset) == 18
    data = Path(state.samples.location(dataset)) / "data"
    files = {file.name for file in data.iterdir()}
    upkeep.drop_versions(timedelta(0))
    kept = {
        file.path for fragment in table_of(state, dataset).get_fragments() for file in fragment.data_files()
    }
    assert kept == {file.name for file in data.iterdir()}, "what was rewritten in vain is gone"
    assert kept < files

    delete_sample(state, dataset, "s5")
    held.clear()
    monkeypatch.setattr("app.store.upkeep.PATIENCE_BYTES", 0)
    monkeypatch.setattr("app.store.upkeep.TOMBSTONES", 0.0)
    with pytest.raises(OSError, match="written all the time"):
        state.samples.upkeep(dataset, writing).compact_if_needed()


class TestDeleted:
    """A sample that stands wherever one can stand."""

    def fill(self, state: State, player: Player) -> Dataset:
        dataset = player.dataset([*rows(40), {"id": ID, "text": OLD_SECRET, "label": "a"}])
        player.send(
            dataset, [{"id": ID, "text": SECRET, "label": "b", "meta": {"note": SECRET}}, *rows(20, 50)]
        )
        add_review(state, dataset, ID, Verdict.WRONG, "a")
        player.score({row["id"]: [1.0] for row in rows(40)} | {ID: [9.0]})  # type: ignore[misc]
        return dataset

    def job(self, state: State, player: Player, dataset: Dataset) -> str:
        """One that has succeeded, with every kind of file."""
        job, _ = state.jobs.create(dataset, JobKind.TRAIN, "demo", {"set": "ids", "ids": ["s1", ID]})
        claim = player.claim()
        entry = state.ids.find(dataset, ID)
        assert entry is not None
        folder = state.results.of_job(dataset.uid, job.id)
        wrong = [{"id": "s1", "text": "words"}, {"id": ID, "text": SECRET}]
        folder.write("report.json", json.dumps({"wrong": wrong}).encode())
        page = "<tr><td>s1</td><td>words</td></tr>\n" + f"<tr><td>{ID}</td><td class='t'>{SECRET}</td></tr>\n"
        folder.write("report.html", f"<p>{page}</p>".encode())
        table = pa.table({"id": ["s1", ID], "label": ["a", "b"]})
        pq.write_table(table, Path(folder.location) / "predictions.parquet")
        ordinals = np.array([0, entry.ordinal])
        seen = SeenSamples(
            ordinal=ordinals,
            generation=np.zeros(2, dtype=np.int64),
            label=np.zeros(2, dtype=np.int32),
            validation=np.zeros(2, dtype=np.bool_),
            wide={"embedding": np.zeros((2, 4), dtype=np.float16)},
        )
        Explanation(folder).write(seen, None)
        state.responses.write(dataset.uid, "lin", 1, 8, pa.table({"id": ["s1", ID], "ordinal": ordinals}))
        self.end(state, claim, {"worst": {"id": ID, "text": SECRET}, "best": {"id": "s1"}})
        return job.id

    def end(self, state: State, claim: Claim, result: dict[str, object]) -> None:
        progress = Progress(phase="done", fraction=1.0)
        state.jobs.end(claim, JobState.SUCCEEDED, progress=progress, result=result)
        state.archive.save_job(claim.job.id)

    def test_vanishes_from_every_file(self, whole: tuple[State, Settings, Player], tmp_path: Path) -> None:
        state, settings, player = whole
        dataset = self.fill(state, player)
        job_id = self.job(state, player, dataset)
        data = tmp_path / "data"
        places = {name.partition("/")[0] for name in files_with(data, SECRET, OLD_SECRET, ID)}
        assert places == {"datasets", "results", "responses", "archive", "redis"}
        assert usage(state, settings, dataset).deletions_pending == 0

        before = findings(state)
        delete_sample(state, dataset, ID)
        assert files_with(data, SECRET, OLD_SECRET), "a deletion alone leaves the bytes where they are"
        assert usage(state, settings, dataset).deletions_pending == 1
        housekeeper = Housekeeper(state, settings)
        for _ in range(3):
            housekeeper.round()
        wait_until(lambda: not state.client.info("persistence")["aof_rewrite_in_progress"])
        wait_until(lambda: not files_with(data, SECRET, OLD_SECRET, ID), 10)
        assert usage(state, settings, dataset).deletions_pending == 0

        folder = state.results.of_job(dataset.uid, job_id)
        assert json.loads(folder.read("report.json") or b"") == {"wrong": [{"id": "s1", "text": "words"}]}
        assert folder.read("report.html") == b"<p><tr><td>s1</td><td>words</td></tr>\n</p>"
        for location in (
            f"{folder.location}/predictions.parquet",
            f"{state.responses.folder(dataset.uid).location}/lin/run-000001-dim-8.parquet",
        ):
            assert pq.read_table(location)["id"].to_pylist() == ["s1"]
        explained = Explanation(folder).open()
        assert explained is not None
        assert explained.to_table(columns=["ordinal"])["ordinal"].to_pylist() == [0]
        job = state.jobs.get(job_id)
        assert (job.params["ids"], job.result) == (["s1"], {"worst": None, "best": {"id": "s1"}})
        assert state.samples.count(dataset) == 60
        assert findings(state) == before, "of what was played, and not written as a job writes it"

    def test_stays_while_a_job_reads_the_version_it_was_in(
        self, whole: tuple[State, Settings, Player], tmp_path: Path
    ) -> None:
        state, settings, player = whole
        dataset = self.fill(state, player)
        player.queue()
        claim = player.claim()
        version = state.samples.pin(dataset, claim.job.id)
        delete_sample(state, dataset, ID)
        housekeeper = Housekeeper(state, settings)
        housekeeper.round()
        batches = state.samples.scan(dataset, version, ["text"])
        assert SECRET in [text for batch in batches for text in batch["text"].to_pylist()]
        assert usage(state, settings, dataset).deletions_pending == 1
        assert usage(state, settings, dataset).pinned == [claim.job.id]
        # What it leaves may name the sample, which was there when it began.
        folder = state.results.of_job(dataset.uid, claim.job.id)
        folder.write("report.json", json.dumps([{"id": ID, "text": SECRET}]).encode())
        self.end(state, claim, {})
        state.samples.unpin(dataset, claim.job.id)
        for _ in range(3):
            housekeeper.round()
        assert usage(state, settings, dataset).deletions_pending == 0
        wait_until(lambda: not files_with(tmp_path / "data", SECRET, OLD_SECRET, ID), 10)

    def test_a_writer_that_died_before_it_deleted(self, whole: tuple[State, Settings, Player]) -> None:
        state, settings, player = whole
        dataset = self.fill(state, player)
        entry = state.ids.find(dataset, ID)
        assert entry is not None
        notes: DeletionNotes = state.archive.of_dataset(dataset).deletions()
        notes.add(ID, entry.ordinal)
        Housekeeper(state, settings).round()
        assert notes.all() == []
        assert state.ids.find(dataset, ID) == entry

    def test_another_sample_of_that_id_is_not_touched(self, whole: tuple[State, Settings, Player]) -> None:
        state, settings, player = whole
        dataset = self.fill(state, player)
        before = self.job(state, player, dataset)
        delete_sample(state, dataset, ID)
        player.send(dataset, [{"id": ID, "text": "somebody else", "label": "a"}])
        after = self.job(state, player, dataset)
        housekeeper = Housekeeper(state, settings)
        for _ in range(3):
            housekeeper.round()
        assert usage(state, settings, dataset).deletions_pending == 0
        held = {
            job: state.results.of_job(dataset.uid, job).read("report.json") or b"" for job in (before, after)
        }
        assert ID.encode() not in held[before]
        assert ID.encode() in held[after]
        assert (state.jobs.get(before).params["ids"], state.jobs.get(after).params["ids"]) == (
            ["s1"],
            ["s1", ID],
        )
        assert state.samples.count(dataset) == 61

    def test_within_the_time_that_readers_have(
        self, whole: tuple[State, Settings, Player], tmp_path: Path
    ) -> None:
        state, settings, player = whole
        dataset = self.fill(state, player)
        delete_sample(state, dataset, ID)
        patient = Housekeeper(state, settings.model_copy(update={"versions_kept_seconds": 3600.0}))
        for _ in range(2):
            patient.round()
        assert files_with(tmp_path / "data", SECRET)
        assert usage(state, settings, dataset).deletions_pending == 1


def test_what_is_of_a_sample_is_found_anywhere() -> None:
    found: set[str] = set()
    near = [{"id": "a"}, {"id": "b", "near": {"id": "a"}}]
    value = {"id": "job", "ids": ["a", "b"], "labels": ["a"], "rows": near}
    assert without(value, {"a"}, found) == {
        "id": "job",
        "ids": ["b"],
        "labels": ["a"],
        "rows": [{"id": "b", "near": None}],
    }
    assert found == {"a"}
    assert without({"x": [None, 1]}, {"a"}, found) == {"x": [None, 1]}


def test_leftovers_of_processes_that_died(tmp_path: Path) -> None:
    old, new = time.time() - 2 * 24 * 3600, time.time()
    made = {
        "results/u/job_1/report.json": old,
        "results/u/job_1/report.json.0a.part": old,
        "results/u/job_1/model.0b.part": new,
        "datasets/d-1.lance.0c.gone/data/x.lance": old,
        "models/m.part": old,
    }
    for name, at in made.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        os.utime(path, (at, at))
    os.utime(tmp_path / "datasets/d-1.lance.0c.gone", (old, old))
    assert remove_leftovers(str(tmp_path)) == 2
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"results/u/job_1/report.json", "results/u/job_1/model.0b.part", "models/m.part"}


def test_usage_by_part(player: Player, state: State, settings: Settings) -> None:
    dataset = player.dataset(rows(200))
    player.score({f"s{n}": [float(n)] for n in range(200)})
    found = usage(state, settings, dataset)
    assert found.files["samples"] > 5_000
    assert found.files["sets"] > 500
    assert found.files["models"] == 0
    total = sum(path.stat().st_size for path in Path(settings.data_url).rglob("*") if path.is_file())
    jobs = sum(path.stat().st_size for path in (Path(settings.data_url) / "archive" / "jobs").glob("*"))
    assert sum(found.files.values()) == total - jobs
    keys = list(state.client.scan_iter(match=f"{state.keys.dataset(dataset.uid).base}:*", count=1000))
    assert sum(part.keys for part in found.redis.values()) == len(keys)
    assert sum(part.bytes for part in found.redis.values()) == sum(
        state.client.memory_usage(key, samples=0) or 0 for key in keys
    )
    assert (found.versions, found.pinned) == (len(state.samples.table(dataset).versions()), [])
