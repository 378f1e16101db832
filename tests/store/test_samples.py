"""The sample store: labels in canonical form, versions that a job reads, a table that goes away."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contracts import Label
from app.errors import NotFound, Unavailable
from app.ingest.writing import delete_sample
from app.store.artifacts import ArtifactStore
from app.store.locations import join_location, writable
from app.store.samples import StoredLabel
from app.store.state import State
from tests.playing import Player


@given(
    st.one_of(
        st.text(), st.integers(-(10**18) + 1, 10**18 - 1), st.floats(allow_nan=False, allow_infinity=False)
    )
)
def test_a_label_comes_back_with_its_value_and_kind(label: Label) -> None:
    stored = StoredLabel.of(label)
    assert stored.value() == label
    assert isinstance(stored.value(), str) is isinstance(label, str)
    assert StoredLabel.of(stored.value()) == stored


@given(st.lists(st.one_of(st.integers(-1000, 1000), st.floats(-1e6, 1e6)), max_size=8))
def test_numbers_are_ordered_by_value_before_strings(labels: list[Label]) -> None:
    keys = sorted(StoredLabel.of(label).order_key() for label in [*labels, "0", "a"])
    assert [key[1] for key in keys[:-2]] == sorted(float(label) for label in labels)
    assert [key[2] for key in keys[-2:]] == ["0", "a"]


@pytest.mark.parametrize("label", [math.nan, math.inf, -math.inf, 10**18, -(10**18), 10**400])
def test_numbers_that_are_no_labels(label: Label) -> None:
    with pytest.raises(ValueError, match="finite number"):
        StoredLabel.of(label)


def test_a_job_reads_one_version_whatever_comes_after(state: State, player: Player) -> None:
    dataset = player.dataset([{"id": str(i), "text": "old"} for i in range(5)])
    version = state.samples.pin(dataset, "job")
    player.send(dataset, [{"id": "0", "text": "new"}, {"id": "9", "text": "new"}])
    delete_sample(state, dataset, "1")
    assert state.samples.pin(dataset, "job") == version
    rows = [
        row for batch in state.samples.scan(dataset, version, ["id", "text"]) for row in batch.to_pylist()
    ]
    assert sorted(row["id"] for row in rows) == list("01234")
    assert {row["text"] for row in rows} == {"old"}
    state.samples.unpin(dataset, "job")
    state.samples.unpin(dataset, "job")
    assert state.samples.pin(dataset, "job") > version


def test_a_pinned_version_outlives_compaction(
    state: State, player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.lance_tables.COMPACT_AT_ONCE", 64)
    dataset = player.dataset([{"id": "first", "text": "t"}])
    version = state.samples.pin(dataset, "job")
    for i in range(70):
        player.send(dataset, [{"id": str(i), "text": "t"}])
    assert len(state.samples.table(dataset).get_fragments()) < 64
    assert sum(batch.num_rows for batch in state.samples.scan(dataset, version, ["id"])) == 1


def test_a_table_that_was_deleted_is_an_unknown_dataset(state: State, player: Player) -> None:
    dataset = player.dataset([{"id": "1", "text": "t"}])
    state.samples.drop(dataset)
    state.samples.drop(dataset)
    for use in (
        lambda: state.samples.counts(dataset),
        lambda: state.samples.from_ordinal(dataset, 0, 5),
        lambda: state.samples.by_ordinals(dataset, [0]),
        lambda: state.samples.generations(dataset),
        lambda: state.samples.delete(dataset, 0),
        lambda: state.samples.pin(dataset, "job"),
        lambda: list(state.samples.scan(dataset, 1, ["id"])),
    ):
        with pytest.raises(NotFound) as gone:
            use()
        assert gone.value.code == "unknown_dataset"


def test_a_data_directory_that_cannot_be_written_is_unavailable(player: Player, tmp_path: Path) -> None:
    (tmp_path / "datasets").write_text("a file is in the way")
    with pytest.raises(Unavailable):
        player.dataset()
    assert player.state.datasets.names() == []


def test_places(tmp_path: Path) -> None:
    assert join_location("s3://bucket/prefix/", "a", "b") == "s3://bucket/prefix/a/b"
    assert join_location(str(tmp_path), "a", "b") == f"{tmp_path}/a/b"
    assert writable(str(tmp_path / "new" / "place"))
    (tmp_path / "file").write_text("")
    assert not writable(str(tmp_path / "file"))


def test_artifacts_appear_whole_and_go(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path), "job_1")
    assert store.read("checkpoint") is None
    store.write("checkpoint", b"one")
    store.write("checkpoint", memoryview(b"two"))
    assert store.read("checkpoint") == b"two"
    assert [path.name for path in (tmp_path / "jobs" / "job_1").iterdir()] == ["checkpoint"]
    store.remove("checkpoint")
    store.remove("checkpoint")
    store.write("other", b"")
    store.remove_all()
    store.remove_all()
    assert store.read("other") is None


def test_appended_rows_leave_nothing_in_the_cache_of_those_who_read(state: State, player: Player) -> None:
    dataset = player.dataset()
    empty = state.samples.table(dataset).session().size_bytes()
    for number in range(60):
        player.send(dataset, [{"id": str(number), "text": "new"}])
    held = state.samples.table(dataset).session().size_bytes()
    assert held - empty < 250_000  # the newest version's manifest, but not that of each
