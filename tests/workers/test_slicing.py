"""What a test split is sliced by: categories, ranges of numbers, sizes of groups, and queries that agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.contracts import Task
from app.contracts.params import CompareParams
from app.errors import JobFailed
from tests.workers.conftest import Bench, Row
from workers.compare.slice_losses import told_by_slice
from workers.compare.slice_values import NONE, OTHER, sliced_sizes, sliced_values
from workers.compare.slicing import Slice, Slicing, slicings
from workers.measuring import Measure
from workers.score.data import load_job_data


def counted(values: list[Any]) -> dict[str, list[Any]]:
    names, codes = sliced_values(values)
    assert len(codes) == len(values)
    return {
        name: [v for v, code in zip(values, codes, strict=True) if code == i] for i, name in enumerate(names)
    }


def test_categories_are_the_most_frequent_and_the_rest() -> None:
    found = counted(["b", None, "a", "b", True, False, 3, 2.5])
    assert found == {
        "b": ["b", "b"],
        "2.5": [2.5],
        "3": [3],
        "a": ["a"],
        "false": [False],
        "true": [True],
    } | {NONE: [None]}
    many = [f"v{i:02}" for i in range(30) for _ in range(1 + (i < 20))]
    found = counted(many)
    assert list(found) == [f"v{i:02}" for i in range(20)] + [OTHER]
    assert found[OTHER] == [f"v{i}" for i in range(20, 30)]
    assert counted([None, None]) == {NONE: [None, None]}


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([5, 1, 1, 3, 2, 2.0], ["1", "2", "3", "5"]),
        (list(range(1, 101)), ["1 to 25", "26 to 50", "51 to 75", "76 to 100"]),
        ([0] * 90 + [1, 2, 3, 4, 5, 6], ["0", "1 to 6"]),
        ([i / 3 for i in range(8)], ["0 to 0.3333", "0.6667 to 1", "1.333 to 1.667", "2 to 2.333"]),
        ([1e-9 * i + 0.5 for i in range(8)], ["0.5 to 0.500000001", "0.500000002 to 0.500000003"]),
        ([-2, -1, 0, 1, 2, 10**17], ["-2 to -1", "0", "1 to 2", "1e+17"]),
        ([str(i) for i in range(40)], ["0 to 9", "10 to 19", "20 to 29", "30 to 39"]),
        (["1", "2", "x"], ["1", "2", "x"]),
        ([10**400, 1, 2, 3, 4, 5], ["1", "2", "3", "4", "5"]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_numbers_are_cut_into_ranges_with_names(values: list[Any], names: list[str]) -> None:
    found = counted(values)
    assert list(found)[: len(names)] == names
    assert sum(map(len, found.values())) == len(values)


def test_sizes_of_groups() -> None:
    sizes = [1, 2, 4, 5, 9, 10, 19, 20, 500, None]
    names, codes = sliced_sizes(sizes)
    assert [names[code] for code in codes] == [
        *("1", "2 to 4", "2 to 4", "5 to 9", "5 to 9"),
        *("10 to 19", "10 to 19", "20 or more", "20 or more", NONE),
    ]


def graded_queries() -> list[Row]:
    """Of 60 test queries every third has four products, the others two; one has nothing relevant."""
    rows: list[Row] = [{"id": f"t{i}", "text": "t", "label": i % 2, "group": "t"} for i in range(2)]
    for query in range(60):
        for item in range(2 if query % 3 else 5):
            grade = 0 if query == 1 else item % 2
            meta = {
                "lang": ("de", "fr")[query % 2],
                "brand": "ab"[item % 2 if query < 30 else 0],
                "item": item,
            }
            row = {"id": f"q{query}-{item}", "text": "t", "label": grade, "group": f"q{query}"}
            rows.append({**row, "split": "test", "meta": meta})
    return rows


def found(bench: Bench, task: Task, *by: str) -> tuple[Measure, dict[str, Slicing]]:
    dataset = bench.state.datasets.get("d")
    params, version = CompareParams(slices=list(by)), bench.state.samples.table(dataset).version
    data = load_job_data(bench.state, dataset, version, params)
    assert data.test is not None
    measure = Measure(data.test, data.classes, by_query=task is Task.RELEVANCE)
    return measure, {one.by: one for one in slicings(bench.state, dataset, version, measure, params)}


def test_slices_of_queries_are_by_what_their_samples_agree_in(bench: Bench) -> None:
    bench.dataset(graded_queries(), task=Task.RELEVANCE)
    measure, by = found(bench, Task.RELEVANCE, "label", "group_size", "meta.lang", "meta.brand", "meta.item")
    assert list(by) == ["group_size", "meta.lang", "meta.brand", "meta.item"]
    sizes = {one.value: one.count for one in by["group_size"].slices}
    assert sizes == {"2 to 4": 39, "5 to 9": 20}
    assert {one.value: one.count for one in by["meta.lang"].slices} == {"de": 30, "fr": 29}
    assert ([one.count for one in by["meta.brand"].slices], by["meta.brand"].left_out) == ([30], 29)
    assert (by["meta.item"].slices, by["meta.item"].left_out) == ((), 59)
    logits = np.zeros((len(measure.rows), 2), dtype=np.float32)
    logits[:, 1] = [
        0 if text.startswith("q3-") else label
        for text, label in zip(measure.rows.ids, measure.rows.labels, strict=True)
    ]
    values = measure.of(logits).values
    (wrong,) = np.flatnonzero(values < 1)
    assert [bool(one.inside[wrong]) for one in by["meta.lang"].slices] == [False, True]


def test_slices_of_samples_and_a_field_that_is_not_there(bench: Bench) -> None:
    bench.dataset(graded_queries())
    _, by = found(bench, Task.CLASSIFICATION, "meta.brand", "group_size")
    assert list(by) == ["label", "meta.brand", "group_size"]
    assert all(one.left_out == 0 for one in by.values())
    with pytest.raises(
        JobFailed, match=r"'meta.brnd'; they have 'brand', 'item', 'lang'|'lang', 'brand'"
    ) as caught:
        found(bench, Task.CLASSIFICATION, "meta.brnd")
    assert caught.value.code == "unknown_field"


def test_a_slice_that_loses_more_than_its_share_warns() -> None:
    """One of ten brands loses a third; of a loss that all share nothing is said."""
    rng = np.random.default_rng(0)
    base = (rng.random((3, 600)) < 0.9).astype(np.float64)
    names, codes = sliced_values([f"b{i % 10}" for i in range(600)])
    slicing = Slicing(
        "meta.brand", tuple(Slice("meta.brand", n, codes == c) for c, n in enumerate(names)), 0, 0
    )
    lost = np.where((codes == 4) & (rng.random((3, 600)) < 0.4), 0, base)
    told = told_by_slice(lost, base, "accuracy", [slicing], CompareParams())
    assert [one["value"] for one in told if one["warning"]] == ["b4"]
    warned = told[4]
    assert warned["accuracy"] == pytest.approx(lost[:, codes == 4].mean())
    assert warned["difference"] == pytest.approx((lost - base)[:, codes == 4].mean())
    everywhere = np.where(rng.random((3, 600)) < 0.4, 0, base)
    assert not any(
        one["warning"] for one in told_by_slice(everywhere, base, "accuracy", [slicing], CompareParams())
    )
