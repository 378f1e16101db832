"""Reviews between two stores: a writer that dies half-way, a Redis that restarts, samples that go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.contracts import Dataset, Verdict, now
from app.errors import NotFound, Unavailable
from app.ingest.writing import delete_sample
from app.services.reviews import add_review, list_reviews, reviews_of, take_back
from app.services.verify import verify
from app.settings import Settings
from app.store.content import entry_of
from app.store.embedded import EmbeddedRedis
from app.store.review_log import Review
from app.store.samples import SampleStore, StoredLabel
from app.store.state import State, open_state
from app.store.unfinished import finish_all_writes
from tests.playing import Player
from tests.processes import wait_until

X, Y = StoredLabel("x", number=False), StoredLabel("y", number=False)


class Died(Exception):
    pass


@pytest.fixture
def dataset(player: Player) -> Dataset:
    return player.dataset([{"id": i, "text": f"text {i}", "label": "x"} for i in "abc"])


def a_correction(state: State, dataset: Dataset, sample_id: str) -> Review:
    entry = state.ids.find(dataset, sample_id)
    assert entry is not None
    return Review(now(), entry.ordinal, entry.generation, Verdict.WRONG, sample_id, X, Y)


def half_written(state: State, dataset: Dataset, sample_id: str) -> None:
    """What a writer leaves that dies after the review, before the label."""
    with state.datasets.writing(dataset):
        state.journal.begin(dataset.uid, [sample_id])
        state.reviews.append(dataset, a_correction(state, dataset, sample_id))


def label(state: State, dataset: Dataset, sample_id: str) -> tuple[str, int]:
    """Label and generation, the same in both stores."""
    entry = state.ids.find(dataset, sample_id)
    assert entry is not None
    row = state.samples.by_ordinals(dataset, [entry.ordinal])[entry.ordinal]
    assert entry_of(row) == entry
    return row["label"], entry.generation


def sound(state: State) -> bool:
    return not [one for one in verify(state, [], lambda _: None) if one.check != "unfinished"]


def test_the_repeated_request_finishes_what_was_cut_off(state: State, dataset: Dataset) -> None:
    half_written(state, dataset, "a")
    assert label(state, dataset, "a") == ("x", 0)
    made = add_review(state, dataset, "a", Verdict.WRONG, "y")
    assert (made.sequence, label(state, dataset, "a")) == (1, ("y", 1))
    assert len(state.reviews.of_sample(dataset, 0)) == 1
    assert reviews_of(state, dataset, "a")["in_force"]["sequence"] == 1
    assert sound(state)


def test_whoever_writes_next_finishes_it_first(state: State, player: Player, dataset: Dataset) -> None:
    """Else the next change would pass for the reviewer's own."""
    half_written(state, dataset, "a")
    player.send(dataset, [{"id": "a", "text": "other", "label": "x"}])
    assert label(state, dataset, "a") == ("x", 2)
    assert reviews_of(state, dataset, "a")["in_force"] is None
    half_written(state, dataset, "b")
    finish_all_writes(state)
    assert label(state, dataset, "b") == ("y", 1)
    assert sound(state)


def test_dead_after_the_row_and_before_its_entry(
    state: State, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = SampleStore.write

    def write_and_die(*given: object, **options: object) -> None:
        write(*given, **options)  # type: ignore[arg-type]
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(SampleStore, "write", write_and_die)
        with pytest.raises(Died):
            add_review(state, dataset, "a", Verdict.WRONG, "y")
    assert add_review(state, dataset, "a", Verdict.WRONG, "y").sequence == 1
    assert label(state, dataset, "a") == ("y", 1)
    assert sound(state)


def test_dead_before_the_review_nothing_has_happened(
    state: State, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(type(state.reviews), "append_all", die)
        with pytest.raises(Died):
            add_review(state, dataset, "a", Verdict.WRONG, "y")
    add_review(state, dataset, "b", Verdict.CORRECT, None)
    assert (label(state, dataset, "a"), label(state, dataset, "b")) == (("x", 0), ("x", 0))
    assert [item["id"] for item in list_reviews(state, dataset, 10, None)["items"]] == ["b"]
    assert sound(state)


def test_an_undo_that_was_cut_off_puts_the_label_back_later(
    state: State, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_review(state, dataset, "a", Verdict.CORRECT, None)
    add_review(state, dataset, "a", Verdict.WRONG, "y")
    monkeypatch.setattr("app.services.reviews.complete_write", lambda *_, **__: None)
    take_back(state, dataset, "a")
    assert label(state, dataset, "a") == ("y", 1)
    finish_all_writes(state)
    assert label(state, dataset, "a") == ("x", 2)
    assert reviews_of(state, dataset, "a")["in_force"]["verdict"] == "correct"
    assert sound(state)


def test_a_sample_that_goes_takes_its_texts_along(state: State, dataset: Dataset) -> None:
    add_review(state, dataset, "a", Verdict.WRONG, "secret")
    add_review(state, dataset, "b", Verdict.CORRECT, None)
    delete_sample(state, dataset, "a")
    first, second = list_reviews(state, dataset, 10, None)["items"]
    assert [first[name] for name in ("id", "label", "new_label")] == [None, None, None]
    assert second["id"] == "b"
    assert state.reviews.in_force(dataset).ordinals.tolist() == [1]
    assert sound(state)


def test_a_deletion_that_was_cut_off_takes_them_along_later(
    state: State, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_review(state, dataset, "a", Verdict.WRONG, "secret")

    def die(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(type(state.reviews), "forget_texts", die)
        with pytest.raises(Died):
            delete_sample(state, dataset, "a")
    finish_all_writes(state)
    with pytest.raises(NotFound):
        reviews_of(state, dataset, "a")
    assert list_reviews(state, dataset, 10, None)["items"][0]["new_label"] is None
    assert sound(state)


def test_in_force_is_read_again_only_when_it_has_changed(state: State, dataset: Dataset) -> None:
    assert state.reviews.in_force(dataset).ordinals.tolist() == []
    add_review(state, dataset, "b", Verdict.UNSURE, None)
    first = state.reviews.in_force(dataset)
    assert state.reviews.in_force(dataset) is first
    add_review(state, dataset, "a", Verdict.WRONG, "y")
    second = state.reviews.in_force(dataset)
    assert (first.ordinals.tolist(), second.ordinals.tolist()) == ([1], [0, 1])
    assert (second.labels_before.tolist(), second.labels_after.tolist()) == (["x", "x"], ["y", None])
    assert second.generations.tolist() == [1, 0]


# -- a Redis of its own --------------------------------------------------------------------------------
@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[EmbeddedRedis, State, Player]]:
    with EmbeddedRedis(tmp_path / "redis") as server:
        settings = Settings(redis_url=server.url, data_url=str(tmp_path / "data"))
        state = open_state(settings, outage_seconds=20)
        yield server, state, Player(state, settings)
        state.close()


def restart(server: EmbeddedRedis) -> None:
    server.kill()
    wait_until(lambda: server.poll() is not None)
    server.start()


def test_a_restart_of_redis_loses_no_review(own: tuple[EmbeddedRedis, State, Player]) -> None:
    server, state, player = own
    dataset = player.dataset([{"id": i, "text": "t", "label": "x"} for i in "ab"])
    add_review(state, dataset, "a", Verdict.WRONG, "y")
    half_written(state, dataset, "b")
    state.make_durable()
    restart(server)
    assert label(state, dataset, "a") == ("y", 1)
    assert add_review(state, dataset, "b", Verdict.WRONG, "y").sequence == 2
    assert label(state, dataset, "b") == ("y", 1)
    assert [item["in_force"]["sequence"] for item in (reviews_of(state, dataset, i) for i in "ab")] == [1, 2]
    assert sound(state)


def test_a_restart_in_the_middle_is_told_and_finished(
    own: tuple[EmbeddedRedis, State, Player], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, state, player = own
    dataset = player.dataset([{"id": "a", "text": "t", "label": "x"}])
    append = type(state.reviews).append_all

    def append_and_restart(*given: object) -> list[Review]:
        made = append(*given)  # type: ignore[arg-type]
        restart(server)
        return made

    with monkeypatch.context() as patch:
        patch.setattr(type(state.reviews), "append_all", append_and_restart)
        with pytest.raises(Unavailable):
            add_review(state, dataset, "a", Verdict.WRONG, "y")
    assert add_review(state, dataset, "a", Verdict.WRONG, "y").sequence == 1
    assert label(state, dataset, "a") == ("y", 1)
    assert sound(state)
