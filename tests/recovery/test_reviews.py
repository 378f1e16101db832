"""Reviews through a backup, a lost Redis and `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from app.contracts import Dataset, Verdict, now
from app.ingest.writing import delete_sample
from app.services.backup import backup
from app.services.datasets import delete_dataset
from app.services.rebuild import rebuild
from app.services.restore import restore
from app.services.reviews import add_review, list_reviews, reviews_of, take_back
from app.services.verify import verify
from app.settings import Settings
from app.store.review_log import SCHEMA, Review
from app.store.samples import StoredLabel
from app.store.state import State
from tests.playing import Player
from tests.recovery.keyspace import lose_redis, rebuilt_part
from tests.recovery.test_backup import silent

X, Y = StoredLabel("x", number=False), StoredLabel("y", number=False)


@pytest.fixture
def dataset(state: State, settings: Settings) -> Dataset:
    """Five samples: a corrected one, a reviewed one, one whose verdict was taken back, a deleted one."""
    dataset = Player(state, settings).dataset([{"id": i, "text": f"t {i}", "label": "x"} for i in "abcde"])
    add_review(state, dataset, "a", Verdict.WRONG, "y")
    add_review(state, dataset, "b", Verdict.CORRECT, None)
    add_review(state, dataset, "c", Verdict.WRONG, "y")
    take_back(state, dataset, "c")
    add_review(state, dataset, "d", Verdict.UNSURE, None)
    delete_sample(state, dataset, "d")
    return dataset


def told(state: State, dataset: Dataset) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = list_reviews(state, dataset, 100, None)["items"]
    return items


def findings(state: State) -> list[str]:
    found = list(verify(state, [], silent))
    assert {one.check for one in found} <= {"reviews"}, found
    return [one.detail for one in found]


def test_a_backup_brings_every_review_back(
    state: State, settings: Settings, dataset: Dataset, tmp_path: Path
) -> None:
    empty = Player(state, settings).dataset([{"id": "z", "text": "t", "label": "x"}], name="empty")
    before, keys = told(state, dataset), rebuilt_part(state)
    backup(state, str(tmp_path / "backup"), silent)
    add_review(state, dataset, "e", Verdict.CORRECT, None)
    for one in (dataset, empty):
        delete_dataset(state, settings, one)
    assert not Path(state.reviews.location(dataset)).exists()
    lose_redis(state)
    restore(state, str(tmp_path / "backup"), silent)
    assert told(state, dataset) == before
    assert told(state, empty) == []
    assert rebuilt_part(state) == keys
    assert findings(state) == []
    assert add_review(state, dataset, "b", Verdict.CORRECT, None).sequence == 2, "known already"
    assert add_review(state, dataset, "e", Verdict.CORRECT, None).sequence == 6
    assert state.reviews.in_force(dataset).ordinals.tolist() == [0, 1, 4]


def test_the_version_that_was_backed_up_is_free_again(state: State, dataset: Dataset, tmp_path: Path) -> None:
    backup(state, str(tmp_path / "backup"), silent)
    with state.reviews._opened(dataset) as table:
        assert table is not None
        assert table.tags.list() == {}


def test_a_rebuild_puts_a_label_in_place_whose_writer_died(state: State, dataset: Dataset) -> None:
    """The journal that told of it is lost with Redis."""
    with state.datasets.writing(dataset):
        state.journal.begin(dataset.uid, ["e"])
        state.reviews.append(dataset, Review(now(), 4, 0, Verdict.WRONG, "e", X, Y))
    lose_redis(state)
    rebuild(state, [], replace=False, report=silent)
    entry = state.ids.find(dataset, "e")
    assert entry is not None
    assert (entry.generation, reviews_of(state, dataset, "e")["in_force"]["new_label"]) == (1, "y")
    assert findings(state) == []


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ({"ordinal": 5}, "of a sample that never was"),
        ({"ordinal": -1}, "of a sample that never was"),
        ({"ordinal": 3}, "still names its sample"),
        ({"sample_id": None, "label": None}, "names no sample"),
        ({"generation": 1}, "of content that is still to come"),
        ({"verdict": None, "undoes": 1}, "takes back what is no verdict on the sample"),
        ({"verdict": None, "undoes": 60}, "takes back what is no verdict on the sample"),
        ({"verdict": None}, "takes back what is no verdict on the sample"),
        ({"undoes": 1}, "takes back what is no verdict on the sample"),
    ],
    ids=repr,
)
def test_verify_names_what_is_wrong(
    state: State, dataset: Dataset, given: dict[str, Any], detail: str
) -> None:
    assert findings(state) == []
    values: dict[str, Any] = {
        "created_at": now(),
        "ordinal": 4,
        "generation": 0,
        "verdict": Verdict.CORRECT,
        "sample_id": "e",
        "label": X,
    }
    state.reviews.append(dataset, Review(**(values | given)))
    [found] = findings(state)
    assert detail in found
    assert found.startswith("review 6")


def test_verify_finds_a_gap_in_the_numbers(state: State, dataset: Dataset) -> None:
    with state.reviews._opened(dataset) as table:
        assert table is not None
        table.delete("sequence = 2")
    assert any("is not numbered as it should be" in one for one in findings(state))


def test_verify_shortens_a_long_list(state: State, dataset: Dataset) -> None:
    rows = [Review(now(), 100 + n, 0, Verdict.CORRECT, f"n{n}", X, sequence=6 + n).row() for n in range(20)]
    with state.reviews._opened(dataset) as table:
        assert table is not None
        table.insert(pa.Table.from_pylist(rows, schema=SCHEMA))
    assert len(findings(state)) == 6
    assert np.all(np.diff([item["sequence"] for item in told(state, dataset)]) == 1)
