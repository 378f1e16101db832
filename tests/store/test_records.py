"""Records and shards: visits merged as plain statistics would, packed and unpacked to the bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import Conflict
from app.store.layout import (
    CELL,
    CELL_STRUCT,
    CELLS_A_CHUNK,
    ENTRIES_A_BUCKET,
    HEADER,
    MEMBERS_A_CHUNK,
    RECORD,
    RECORD_STRUCT,
    SHARD_RECORDS,
    VISITS_AT_MOST,
)
from app.store.records import (
    Ledger,
    Records,
    Unrecordable,
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
        assert record["grad_norm_std"] == pytest.approx(norm.std(), rel=1e-5, abs=1e-6 * norm.max() + 1e-30)
        assert record["grad_norm_last"] == np.float32(norm[-1])
        for name, values in (("loss", loss), ("el2n", el2n), ("margin", margin), ("confidence", confidence)):
            scale = np.abs(values).max()
            assert record[name] == pytest.approx(values.mean(), rel=1e-5, abs=1e-5 * scale + 1e-30)
        assert record["variability"] == pytest.approx(confidence.std(), rel=1e-5, abs=1e-6)
        assert record["turns"] // 2 == np.count_nonzero((correct[:-1] == 1) & (correct[1:] == 0))
        assert record["turns"] % 2 == correct[-1]
        assert record["updated_at"] == 1_700_000_000
        aligned = alignment[~np.isnan(alignment)]
        expected = aligned.mean() if len(aligned) else np.nan
        assert record["alignment"] == pytest.approx(expected, rel=1e-5, abs=1e-5, nan_ok=True)


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
        b"",
        pack_shard(Ledger(1, 1, 1), empty_records(2))[:-1],
        pack_shard(Ledger(1, 1, 1), empty_records(2)) + b"x",
        b"XX" + pack_shard(Ledger(1, 1, 1), empty_records(2))[2:],
    ],
)
def test_what_is_no_whole_shard_is_refused(blob: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a (whole )?score shard"):
        unpack_shard(blob)


def test_a_shard_of_another_format_is_an_error_with_a_remedy() -> None:
    blob = pack_shard(Ledger(1, 1, 1), empty_records(2))
    with pytest.raises(Conflict, match="format 1, this version reads 2") as refused:
        unpack_shard(blob[:2] + b"\x01\x00" + blob[4:])
    assert refused.value.code == "state_format"
    assert refused.value.remedy


# -- what a record cannot hold -------------------------------------------------------------------------
SOUND = (1.0, 1.0, 1.0, 1.0, 0.5, True, 0.5)


@pytest.mark.parametrize("signal", [0, 1, 2, 3, 4, 6])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e300])
def test_what_is_not_finite_is_refused_whole(signal: int, value: float) -> None:
    if signal == 6 and np.isnan(value):
        return  # an alignment that was not taken
    broken = (*SOUND[:signal], value, *SOUND[signal + 1 :])
    records = merged([{0: SOUND, 1: SOUND, 2: SOUND}], 3)
    before = records.tobytes()
    visits = seen({0: SOUND, 2: broken, 1: SOUND})
    with pytest.raises(Unrecordable) as refused:
        merge_visits(records, visits.ordinals, visits, at=1)
    assert (refused.value.code, refused.value.positions) == ("non_finite_score", (1,))
    assert records.tobytes() == before


def test_a_visit_too_many_is_refused_and_not_wrapped() -> None:
    records = merged([{0: SOUND, 1: SOUND}], 2)
    records["visits"][1] = VISITS_AT_MOST - 1
    visits = seen({0: SOUND, 1: SOUND})
    merge_visits(records, visits.ordinals, visits, at=1)
    before = records.tobytes()
    with pytest.raises(Unrecordable) as refused:
        merge_visits(records, visits.ordinals, visits, at=1)
    assert (refused.value.code, refused.value.positions) == ("too_many_visits", (1,))
    assert records.tobytes() == before
    changed = seen({1: SOUND}, generation=1)
    merge_visits(records, changed.ordinals, changed, at=1)
    assert records["visits"].tolist() == [2, 1]


# -- drift ---------------------------------------------------------------------------------------------
VISITED = 5_000
shapes = st.sampled_from(["noise", "ramp", "step", "alternating", "constant", "decay"])


def trajectory(shape: str, level: float, spread: float, seed: int) -> np.ndarray:
    """5,000 values of one signal around a level."""
    at = np.arange(VISITED)
    form = {
        "noise": np.random.default_rng(seed).uniform(-1, 1, VISITED),
        "ramp": at / VISITED,
        "step": (at >= VISITED // 2) * 1.0,
        "alternating": (at % 2) * 2.0 - 1.0,
        "constant": np.zeros(VISITED),
        "decay": np.exp(-at / 300),
    }[shape]
    return level * (1 + spread * form)


samples = st.tuples(
    shapes, st.floats(1e-6, 1e6), st.sampled_from([1e-6, 1e-3, 0.5]), st.integers(0, 2**32 - 1)
)


@settings(max_examples=4, deadline=None)
@given(st.lists(samples, min_size=1, max_size=64))
def test_thousands_of_visits_do_not_drift(drawn: list[tuple[str, float, float, int]]) -> None:
    values = np.stack([trajectory(*sample) for sample in drawn], axis=1)
    records = empty_records(len(drawn))
    rows = np.arange(len(drawn))
    for step in values:
        same = np.zeros(len(drawn), dtype=np.uint32)
        right = np.ones(len(drawn), dtype=bool)
        visits = Visits(rows, same, step, step, step, -step, step, correct=right, alignment=step)
        merge_visits(records, rows, visits, at=1)
    for seen_by, raw in zip(values.T, records, strict=True):
        _require_no_drift(seen_by, raw)


def _require_no_drift(values: np.ndarray, record: np.void) -> None:
    largest, deviation = np.abs(values).max(), values.std()
    assert record["visits"] == record["alignments"] == VISITED
    # The sum is the one that plain float64 addition gives, and that is exact to n units in the last place.
    assert record["grad_norm_sum"] == sum(values.tolist())
    assert importance(record) == pytest.approx(math.fsum(values) / VISITED, rel=VISITED * 2**-53)
    for mean in (
        record["loss"],
        record["el2n"],
        -record["margin"],
        record["confidence"],
        record["alignment"],
    ):
        assert abs(mean - values.mean()) <= VISITED * 2**-25 * largest
    assert abs(record["grad_norm_std"] - deviation) <= 2e-4 * deviation + 1e-9 * largest
    # Around a mean in float32, a deviation far below its last place is lost.
    assert abs(record["variability"] - deviation) <= 1e-3 * deviation + VISITED * 2**-24 * largest


def test_the_layout_that_the_scripts_rely_on() -> None:
    assert (RECORD.itemsize, HEADER.size, CELL.itemsize) == (52, 32, 14)
    assert (RECORD_STRUCT.size, CELL_STRUCT.size) == (RECORD.itemsize, CELL.itemsize)
    assert [RECORD.fields[name][1] for name in ("generation", "visits")] == [0, 2]
    assert [CELL.fields[name][1] for name in ("generation", "set")] == [0, 2]
    block = 64 * 1024 - 6  # what a string has around it
    assert block - RECORD.itemsize < HEADER.size + SHARD_RECORDS * RECORD.itemsize <= block
    assert block - CELL.itemsize < CELLS_A_CHUNK * CELL.itemsize <= block
    assert block - 4 < MEMBERS_A_CHUNK * 4 <= block
    assert 7 + ENTRIES_A_BUCKET * (2 + 2 + 14 + 20) <= 3072
    assert shard_of(0) == (0, 0)
    assert shard_of(SHARD_RECORDS) == (1, 0)
    assert shard_of(2 * SHARD_RECORDS - 1) == (1, SHARD_RECORDS - 1)
