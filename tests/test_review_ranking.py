"""The order of the review queue, against plain Python that is obviously right."""

from __future__ import annotations

from itertools import islice
from math import log2

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.services.review_ranking import alternating, by_turns, review_orders

probabilities = st.one_of(st.just(float("nan")), st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), st.floats(0, 1))
members = st.lists(st.tuples(probabilities, st.integers(-1, 3)), max_size=40)


def arrays(rows: list[tuple[float, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([q for q, _ in rows], dtype=np.float64), np.array([c for _, c in rows], dtype=np.int32)


def turns(keys: list[float], classes: list[int]) -> list[int]:
    """One class after the other gives its best, the class with the best one first."""
    waiting = {c: sorted((k, i) for i, k in enumerate(keys) if classes[i] == c) for c in classes}
    order: list[int] = []
    while any(waiting.values()):
        best = sorted(rows.pop(0) for rows in waiting.values() if rows)
        order += [position for _, position in best]
    return order


def entropy(q: float) -> float:
    return -sum(p * log2(p) for p in (q, 1 - q) if p > 0)


@given(members)
def test_classes_take_turns(rows: list[tuple[float, int]]) -> None:
    keys = [-1.0 if np.isnan(q) else q for q, _ in rows]
    classes = [c for _, c in rows]
    found = by_turns(np.array(keys, dtype=np.float64), np.array(classes, dtype=np.int32))
    assert found.tolist() == turns(keys, classes)


@given(members)
def test_the_two_orders_are_of_all_rows_with_a_probability(rows: list[tuple[float, int]]) -> None:
    q, classes = arrays(rows)
    known = np.flatnonzero(~np.isnan(q)).tolist()
    orders = review_orders(q, classes)
    if not known:
        assert [order.tolist() for order in orders] == [list(range(len(rows)))]
        return
    errors, uncertain = orders
    assert sorted(errors.tolist()) == sorted(uncertain.tolist()) == known
    own = [rows[i][1] for i in known]
    assert errors.tolist() == [known[i] for i in turns([-float(q[i]) for i in known], own)]
    assert uncertain.tolist() == [known[i] for i in turns([abs(float(q[i]) - 0.5) for i in known], own)]


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_distance_from_one_half_orders_as_the_entropy_does(p: float, q: float) -> None:
    if abs(p - 0.5) < abs(q - 0.5):
        assert entropy(p) >= entropy(q) - 1e-12


@given(members, st.data())
def test_each_order_gives_half_of_the_places_and_nothing_comes_twice(
    rows: list[tuple[float, int]], data: st.DataObject
) -> None:
    q, classes = arrays(rows)
    skipped = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), dtype=bool)
    orders = review_orders(q, classes)
    found = list(alternating(orders, skipped))
    assert sorted(found) == sorted(i for i in orders[0].tolist() if not skipped[i])
    left = [[i for i in order.tolist() if not skipped[i]] for order in orders]
    for place, position in enumerate(found):
        first = next(i for i in left[place % len(left)] if i not in found[:place])
        assert position == first


def test_a_class_with_many_errors_does_not_take_the_whole_queue() -> None:
    q = np.concatenate([np.linspace(0.99, 0.9, 50), [0.6, 0.3]])
    classes = np.array([0] * 50 + [1, 2], dtype=np.int32)
    first = list(islice(alternating(review_orders(q, classes), np.zeros(52, dtype=bool)), 4))
    assert {0, 50, 51} <= set(first)
