"""Records and shards: visits merged as plain statistics would, packed and unpacked to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.store.keys import SHARD_RECORDS
from app.store.records import (
    HEADER,
    RECORD,
    Ledger,
    Records,
    Visits,
    empty_records,
    importance,
    merge_visits,
    pack_shard,
    shard_of,
    unpack_shard,
)

finite = st.floats(0, 1e6)
unit = st.floats(-1, 1)
one_visit = st.tuples(
    finite,  # gradient norm
    finite,  # loss
    st.floats(0, 2),  # EL2N
    st.floats(-1e3, 1e3),  # margin
    st.floats(0, 1),  # confidence
    st.booleans(),  # correct
    st.one_of(st.just(np.nan), unit),  # alignment
)


def seen(per_row: dict[int, tuple[float, ...]], generation: int = 0) -> Visits:
    """One visit of each of the rows."""
    rows = np.array(list(per_row), dtype=np.int64)
    signals = np.array(list(per_row.values()), dtype=np.float64).reshape(len(rows), 7).T
    return Visits(
        rows,
        np.full(len(rows), generation, dtype=np.uint32),
        *signals[:5],
        correct=signals[5].astype(bool),
        alignment=signals[6],
    )


def merged(per_step: list[dict[int, tuple[float, ...]]], size: int, generation: int = 0) -> Records:
    records = empty_records(size)
    for step in per_step:
        visits = seen(step, generation)
        merge_visits(records, visits.ordinals, visits, at=1_700_000_000)
    return records


@given(st.lists(st.dictionaries(st.integers(0, 4), one_visit, max_size=5), max_size=12))
def test_merged_visits_are_the_statistics_of_all_visits(per_step: list[dict[int, tuple[float, ...]]]) -> None:
    records = merged(per_step, 5)
    for row, record in enumerate(records):
        history = np.array([step[row] for step in per_step if row in step], dtype=np.float64).reshape(-1, 7)
        assert record["visits"] == len(history)
        if not len(history):
            assert np.isnan(importance(records)[row])
            continue
        norm, loss, el2n, margin, confidence, correct, alignment = history.T
        assert importance(records)[row] == pytest.approx(norm.mean(), rel=1e-12)
        assert record["grad_norm_sq_sum"] == pytest.approx((norm**2).sum(), rel=1e-12)
        assert record["grad_norm_last"] == np.float32(norm[-1])
        for name, values in (("loss", loss), ("el2n", el2n), ("margin", margin), ("confidence", confidence)):
            scale = np.abs(values).max()
            assert record[f"{name}_mean"] == pytest.approx(values.mean(), rel=1e-5, abs=1e-5 * scale + 1e-30)
        deviation = np.sqrt(max(0.0, record["confidence_m2"]) / len(history))
        assert deviation == pytest.approx(confidence.std(), rel=1e-3, abs=2e-3)
        assert record["forgetting"] == np.count_nonzero((correct[:-1] == 1) & (correct[1:] == 0))
        assert record["last_correct"] == correct[-1]
        assert record["updated_at"] == 1_700_000_000
        aligned = alignment[~np.isnan(alignment)]
        expected = aligned.mean() if len(aligned) else np.nan
        assert record["alignment_mean"] == pytest.approx(expected, rel=1e-5, abs=1e-5, nan_ok=True)


@given(st.lists(one_visit, min_size=1, max_size=5), st.lists(one_visit, min_size=1, max_size=5))
def test_another_generation_starts_a_record_anew(
    old: list[tuple[float, ...]], new: list[tuple[float, ...]]
) -> None:
    fresh = merged([{0: visit} for visit in new], 1, generation=3)
    records = merged([{0: visit} for visit in old], 1, generation=2)
    for visit in new:
        merge_visits(records, np.array([0]), seen({0: visit}, generation=3), at=1_700_000_000)
    assert records.tobytes() == fresh.tobytes()


def test_rows_that_are_not_visited_stay_as_they_are() -> None:
    visit = (1.0, 1.0, 1.0, 1.0, 0.5, True, np.nan)
    records = merged([{1: visit}], 3)
    before = records[[0, 1]].tobytes()
    after = records.copy()
    merge_visits(after, np.array([2]), seen({2: visit}), at=1)
    assert after[[0, 1]].tobytes() == before
    assert after[2]["visits"] == 1


@given(
    st.integers(0, 2**53),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=3 * RECORD.itemsize).map(
        lambda raw: raw[: len(raw) // RECORD.itemsize * RECORD.itemsize]
    ),
)
def test_a_shard_comes_back_to_the_bit(fence: int, run: int, step: int, raw: bytes) -> None:
    records = np.frombuffer(raw, dtype=RECORD)
    ledger, held = unpack_shard(pack_shard(Ledger(fence, run, step), records))
    assert ledger == (fence, run, step)
    assert held.tobytes() == raw
    held["visits"] = 7  # a copy that may be written


@pytest.mark.parametrize(
    "blob",
    [
        pack_shard(Ledger(1, 1, 1), empty_records(2))[:-1],
        pack_shard(Ledger(1, 1, 1), empty_records(2)) + b"x",
        b"XX" + pack_shard(Ledger(1, 1, 1), empty_records(2))[2:],
        b"GS\x02" + pack_shard(Ledger(1, 1, 1), empty_records(2))[3:],
    ],
)
def test_what_is_no_shard_is_refused(blob: bytes) -> None:
    with pytest.raises(ValueError, match="not a score shard"):
        unpack_shard(blob)


def test_the_layout_that_the_scripts_rely_on() -> None:
    assert (RECORD.itemsize, HEADER.size) == (64, 32)
    assert HEADER.size + SHARD_RECORDS * RECORD.itemsize < 64 * 1024
    assert shard_of(0) == (0, 0)
    assert shard_of(SHARD_RECORDS) == (1, 0)
    assert shard_of(2 * SHARD_RECORDS - 1) == (1, SHARD_RECORDS - 1)
