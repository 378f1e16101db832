"""The rule that puts samples into splits: quotas, groups and times hold, whatever the order."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.params import SplitParams
from app.errors import JobFailed
from app.ingest.splitting import Placing, place_of_group, place_of_id, time_of
from app.ingest.survey import PLACING_COLUMNS, Survey
from app.store.samples import SCHEMA

Row = dict[str, Any]
AT = datetime(2026, 1, 1, tzinfo=UTC)
SHARES = st.sampled_from([0.0, 0.1, 0.25, 0.4])
SPLITS = ("train", "validation", "test")


def rows_of(draw: Any, *, timed: bool = False) -> list[Row]:
    count = draw(st.integers(0, 60))
    groups = st.one_of(st.none(), st.sampled_from([f"q{i}" for i in range(12)]))
    times = st.one_of(st.none(), st.integers(0, 20), st.sampled_from(["2020-01-05", "2021-03-01 10:00:00"]))
    made = []
    for i in range(count):
        row = {"id": f"s{i}", "label": draw(st.sampled_from(["a", "b", None])), "group": draw(groups)}
        meta = json.dumps({"timestamp": draw(times)}) if timed else None
        made.append(row | {"split": draw(st.sampled_from(SPLITS)), "meta": meta})
    return made


def params_of(draw: Any, by: str, *, kept: bool = True) -> SplitParams:
    keep = draw(st.lists(st.sampled_from(["validation", "test"]), unique=True)) if kept else []
    fields = {"by": by, "validation": draw(SHARES), "test": draw(SHARES), "seed": draw(st.integers(0, 3))}
    return SplitParams.model_validate(fields | {"keep": keep})


def surveyed(params: SplitParams, rows: list[Row]) -> Survey:
    survey = Survey(params)
    columns = pa.schema([SCHEMA.field(name) for name in PLACING_COLUMNS])
    numbered = [{"ordinal": at, **row} for at, row in enumerate(rows)]
    for start in range(0, len(rows), 7):
        survey.add(pa.RecordBatch.from_pylist(numbered[start : start + 7], schema=columns))
    return survey


def placing(params: SplitParams, rows: list[Row]) -> Placing:
    return Placing(*surveyed(params, rows).rule("job_1", AT))


def split(held: Placing, row: Row) -> str:
    if row["split"] in held.rule.keep:
        return str(row["split"])
    time = None if row["meta"] is None else json.loads(row["meta"])["timestamp"]
    return held.split_of(row["id"], row["label"], row["group"], time)


def assigned(held: Placing, rows: list[Row]) -> dict[str, str]:
    return {row["id"]: split(held, row) for row in rows}


@settings(max_examples=40)
@given(st.data(), st.sampled_from(["stratified", "group", "time"]), st.randoms())
def test_the_order_does_not_matter(data: st.DataObject, by: str, shuffle: random.Random) -> None:
    rows, params = [*rows_of(data.draw, timed=True), timed_row()], params_of(data.draw, by)
    mixed = rows.copy()
    shuffle.shuffle(mixed)
    held = placing(params, rows)
    again = placing(params, mixed)
    assert again == held
    assert assigned(again, mixed) == assigned(held, rows)


@settings(max_examples=40)
@given(st.data())
def test_quotas_of_every_label_are_met_to_within_one_sample(data: st.DataObject) -> None:
    rows, params = rows_of(data.draw), params_of(data.draw, "stratified", kept=False)
    splits = assigned(placing(params, rows), rows)
    for label in ("a", "b", None):
        ids = [row["id"] for row in rows if row["label"] == label]
        found = Counter(splits[one] for one in ids)
        assert abs(found["test"] - len(ids) * params.test) <= 0.5 + 1e-9
        assert abs(found["validation"] - len(ids) * params.validation) <= 1 + 1e-9


@settings(max_examples=40)
@given(st.data(), st.sampled_from(["group", "time"]))
def test_no_group_is_on_both_sides(data: st.DataObject, by: str) -> None:
    """But for those that the client had put on both, and that are to be kept."""
    rows, params = [*rows_of(data.draw, timed=True), timed_row()], params_of(data.draw, by)
    splits = assigned(placing(params, rows), rows)
    sides, kept = defaultdict(set), defaultdict(set)
    for row in rows:
        if row["group"] is not None:
            sides[row["group"]].add(splits[row["id"]])
            if row["split"] in params.keep:
                kept[row["group"]].add(row["split"])
    assert all(len(found) == 1 or len(kept[group]) == 2 for group, found in sides.items())


@settings(max_examples=40)
@given(st.data())
def test_group_quotas_are_met_to_within_half_of_the_largest_group(data: st.DataObject) -> None:
    rows, params = rows_of(data.draw), params_of(data.draw, "group", kept=False)
    found = Counter(assigned(placing(params, rows), rows).values())
    largest = max(Counter(row["group"] or row["id"] for row in rows).values(), default=0)
    assert abs(found["test"] - len(rows) * params.test) <= largest / 2 + 1e-9
    assert abs(found["validation"] - len(rows) * params.validation) <= largest + 1e-9


@settings(max_examples=40)
@given(st.data())
def test_by_time_nothing_that_is_trained_on_is_newer(data: st.DataObject) -> None:
    rows, params = [*rows_of(data.draw, timed=True), timed_row()], params_of(data.draw, "time", kept=False)
    splits = assigned(placing(params, rows), rows)
    times = {row["id"]: time_of(json.loads(row["meta"])["timestamp"]) for row in rows}
    newest_of_group: dict[str, float] = {}
    for row in rows:
        time = times[row["id"]]
        if time is not None:
            unit = row["group"] or row["id"]
            newest_of_group[unit] = max(time, newest_of_group.get(unit, time))
    newest: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        unit = row["group"] or row["id"]
        if unit in newest_of_group:
            newest[splits[row["id"]]].append(newest_of_group[unit])
        else:
            assert splits[row["id"]] == "train"
    for earlier, later in (("train", "validation"), ("validation", "test"), ("train", "test")):
        if newest[earlier] and newest[later]:
            assert max(newest[earlier]) < min(newest[later])


@settings(max_examples=40)
@given(st.data(), st.sampled_from(["stratified", "group"]))
def test_who_comes_later_is_placed_as_if_it_had_been_there_and_moves_nobody(
    data: st.DataObject, by: str
) -> None:
    rows, params = rows_of(data.draw), params_of(data.draw, by, kept=False)
    held = placing(params, rows)
    before = assigned(held, rows)
    more = [row | {"id": f"new-{row['id']}"} for row in rows]
    splits = assigned(held, [*rows, *more])
    assert {one: splits[one] for one in before} == before
    stored = {(row["id"], row["group"]): splits[row["id"]] for row in more}
    for row in more:
        alone = Placing(held.rule).split_of(row["id"], row["label"], row["group"], None)
        assert alone == stored[row["id"], row["group"]]


@pytest.mark.parametrize("by", ["stratified", "group"])
def test_later_samples_are_split_by_the_same_shares(by: str) -> None:
    params = SplitParams.model_validate({"by": by, "validation": 0.2, "test": 0.1})
    few = [{"id": f"a{i}", "label": "x", "group": f"g{i}", "split": "train", "meta": None} for i in range(3)]
    held = placing(params, few)
    later = Counter(held.split_of(f"b{i}", "x", f"h{i}", None) for i in range(4000))
    assert later["test"] == pytest.approx(400, abs=100)
    assert later["validation"] == pytest.approx(800, abs=140)
    unknown = Counter(held.split_of(f"b{i}", "new label", f"h{i}", None) for i in range(4000))
    assert unknown["test"] == pytest.approx(400, abs=100)


def test_kept_splits_lose_nobody_and_win_nobody() -> None:
    rows = [
        {"id": str(i), "label": "x", "group": None, "split": SPLITS[i % 3], "meta": None} for i in range(300)
    ]
    params = SplitParams.model_validate(
        {"by": "stratified", "keep": ["test"], "validation": 0.5, "test": 0.3}
    )
    splits = assigned(placing(params, rows), rows)
    assert [one for one, split in splits.items() if split == "test"] == [row["id"] for row in rows[2::3]]
    assert Counter(splits.values()) == {"train": 100, "validation": 100, "test": 100}


def test_a_seed_gives_a_split_of_its_own() -> None:
    assert place_of_id("1", 0) == place_of_id("1", 0) != place_of_id("1", 1)
    assert place_of_group("1", None, 0) == place_of_id("1", 0) != place_of_group("1", "1", 0)


def test_places_stay_what_they_are() -> None:
    """They are kept nowhere: a change of the hash would move the samples of every dataset that has a rule."""
    assert place_of_id("s1", 0) == 0.5585544384674026
    assert place_of_group("s1", "q1", 7) == 0.17893004048438377


@pytest.mark.parametrize(
    ("value", "time"),
    [
        (5, 5.0),
        ("5.5", 5.5),
        ("1970-01-02", 86400.0),
        ("1970-01-01T01:00:00+01:00", 0.0),
        ("2010-12-01 08:34:00", 1291192440.0),
        *((value, None) for value in (None, True, "", "soon", "nan", float("inf"), 10**400, [1])),
    ],
)
def test_times(value: object, time: float | None) -> None:
    assert time_of(value) == time


def test_without_any_time_there_is_no_split_by_time() -> None:
    row = {"id": "1", "label": "x", "group": None, "split": "train", "meta": '{"timestamp": "soon"}'}
    with pytest.raises(JobFailed) as caught:
        placing(SplitParams.model_validate({"by": "time"}), [row])
    assert caught.value.code == "no_timestamps"


def timed_row() -> Row:
    return {"id": "timed", "label": None, "group": None, "split": "train", "meta": '{"timestamp": 1}'}
