"""Batches of whole queries: every sample once, the same for the same seed, as many in every epoch."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.batching import count_query_batches, query_batches

CODES = st.lists(st.integers(-3, 12), min_size=1, max_size=80).map(np.array)


@settings(max_examples=150, deadline=None)
@given(queries=CODES, batch_size=st.integers(1, 12), seed=st.integers(0, 99), epoch=st.integers(0, 9))
def test_every_sample_once_and_queries_whole(
    queries: np.ndarray, batch_size: int, seed: int, epoch: int
) -> None:
    batches = query_batches(queries, batch_size, seed=seed, epoch=epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(queries)))
    assert max(len(batch) for batch in batches) <= batch_size
    assert len(batches) == count_query_batches(queries, batch_size)
    codes, sizes = np.unique(queries, return_counts=True)
    for code, size in zip(codes, sizes, strict=True):
        parts = [held for batch in batches if (held := int((queries[batch] == code).sum()))]
        # Of a query that was cut, two parts may meet in one batch again.
        assert len(parts) <= -(-size // batch_size)
        assert len(parts) == 1 or size > batch_size
    half_full = sum(2 * len(batch) <= batch_size for batch in batches)
    assert half_full <= 1, "two of them would have fitted into one"
    again = query_batches(queries, batch_size, seed=seed, epoch=epoch)
    assert all(np.array_equal(one, other) for one, other in zip(batches, again, strict=True))


def test_epochs_and_seeds_mix_the_queries_anew() -> None:
    queries = np.repeat(np.arange(40), 3)
    drawn = [
        {frozenset(queries[batch].tolist()) for batch in query_batches(queries, 8, seed=seed, epoch=epoch)}
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert all(len(one & other) < 5 for i, one in enumerate(drawn) for other in drawn[:i])


def test_a_large_query_is_cut_elsewhere_each_time() -> None:
    queries = np.zeros(20, dtype=np.int64)
    first, second = (query_batches(queries, 8, seed=0, epoch=epoch) for epoch in (0, 1))
    assert sorted(map(len, first)) == [6, 7, 7]
    assert {frozenset(batch.tolist()) for batch in first}.isdisjoint(frozenset(b.tolist()) for b in second)
