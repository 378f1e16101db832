"""Everything that a clean job says of the samples of one version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.contracts import Split
from app.contracts.flags import BIT_OF_FLAG, SampleFlag
from app.contracts.params import CleanParams
from workers.clean.checks import RowChecks
from workers.clean.groups import Related, differing, later_ones
from workers.clean.near import NearDuplicates, Text
from workers.clean.words import visible

Ints = NDArray[np.int64]
COLUMNS = ("ordinal", "generation", "id", "text", "text_pair", "label", "group", "split")
CHUNK = 2000
SPLITS = [split.value for split in Split]
Step = Callable[[str, int, int], None]
"""Told what is being done, how many samples are done, and how many there are; called often."""


@dataclass(frozen=True)
class Findings:
    """bits: (n,) flags of each sample. of: for flags that tell of another sample its position, (n,), or -1.

    labels, splits, texts: (n,) codes, equal for equal ones; -1 is none.
    """

    bits: NDArray[np.uint32]
    of: dict[SampleFlag, Ints]
    labels: Ints
    splits: Ints
    texts: Ints

    def has(self, flag: SampleFlag) -> NDArray[np.bool_]:
        has: NDArray[np.bool_] = (self.bits & np.uint32(BIT_OF_FLAG[flag])) != 0
        return has


def find(table: pa.Table, params: CleanParams, labels: frozenset[str] | None, step: Step) -> Findings:
    """What is wrong with the samples of a table (COLUMNS), in its order.

    labels: canonical texts of those that the dataset has; None while they are open.
    """
    checks = RowChecks(params, labels)
    bits = np.zeros(len(table), dtype=np.uint32)
    digests: list[bytes] = []
    for number, (text, pair, label) in enumerate(_rows(table, "text", "text_pair", "label")):
        if number % CHUNK == 0:
            step("checking", number, len(table))
        for flag in checks.flags(text, pair, label):
            bits[number] |= np.uint32(BIT_OF_FLAG[flag])
        digests.append(_digest(text, pair))
    codes = _codes(pa.array(digests, type=pa.binary()))
    label_codes, group_codes, split_codes = (_codes(table[name]) for name in ("label", "group", "split"))
    step("comparing", 0, len(table))
    near = _near_duplicates(table, params, codes, split_codes, step)
    related = {
        SampleFlag.EXACT_DUPLICATE: later_ones(codes, label_codes, split_codes),
        SampleFlag.CONFLICTING_LABEL: differing(codes, label_codes),
        SampleFlag.NEAR_DUPLICATE: near,
        SampleFlag.LEAK_TEXT: differing(codes, split_codes),
        SampleFlag.LEAK_GROUP: differing(group_codes, split_codes),
    }
    for flag, found in related.items():
        bits[found.flagged] |= np.uint32(BIT_OF_FLAG[flag])
    of = {flag: found.of for flag, found in related.items()}
    return Findings(bits, of, label_codes, split_codes, codes)


def _near_duplicates(table: pa.Table, params: CleanParams, codes: Ints, splits: Ints, step: Step) -> Related:
    """Among different texts of one split; each sample of a text that is one has the flag."""
    _, first, copies = np.unique(np.stack([codes, splits]), axis=1, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    first = first[order]
    distinct = table.select(["text", "text_pair"]).take(pa.array(first))
    texts = [
        Text(text, pair, kind)
        for (text, pair), kind in zip(
            _rows(distinct, "text", "text_pair"), splits[first].tolist(), strict=True
        )
    ]
    originals = NearDuplicates(params, texts, lambda done, of: step("near-duplicates", done, of)).originals()
    flagged = originals >= 0
    of = np.where(flagged, first[np.where(flagged, originals, 0)] if len(first) else originals, -1)
    mine = place[copies.ravel()]
    return Related(flagged[mine], of[mine])


def _digest(text: str, pair: str | None) -> bytes:
    """Equal for texts that look the same."""
    shown = visible(text) if pair is None else f"{visible(text)}\n{visible(pair)}"
    return blake2b(shown.encode(), digest_size=16).digest()


def _codes(column: pa.Array | pa.ChunkedArray) -> Ints:
    """(n,) equal numbers for equal values; -1 is none."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    codes: Ints = (
        array.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    return codes


def _rows(table: pa.Table, *names: str) -> Iterator[tuple[str, ...]]:
    """Values of these columns, row by row, without all of them in memory as Python's."""
    for batch in table.select(list(names)).to_batches(max_chunksize=CHUNK):
        yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)
