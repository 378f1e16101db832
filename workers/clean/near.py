"""Near-duplicates: texts whose shingles are nearly the same set."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.contracts.params import CleanParams
from workers.clean.minhash import Banding, MinHash
from workers.clean.shingles import Hashes, Shingled, Shingler, jaccard, mix

Ints = NDArray[np.int64]
CHUNK = 500
REMEMBERED = 4096
"""Texts whose shingles are kept while they may be asked for again."""
ROUNDING = 1e-9
Step = Callable[[int, int], None]
"""Told how many texts are done, and how many there are; called often."""


class Text(NamedTuple):
    """What is compared: texts of different kinds are never alike."""

    text: str
    text_pair: str | None
    kind: int = 0


class Shingles(NamedTuple):
    text: Shingled
    text_pair: Shingled | None


class NearDuplicates:
    """Which of the texts are near-duplicates of an earlier one that is none itself.

    So whatever is flagged has a near-duplicate that is not, and of those that are not no two are
    near-duplicates of one another. Candidates come from MinHash; that they are alike is then computed.
    """

    def __init__(self, params: CleanParams, texts: Sequence[Text], step: Step) -> None:
        self._threshold = params.near_duplicate_threshold - ROUNDING
        self._minhash = MinHash(Banding.of(params.near_duplicate_threshold, params.num_perm))
        self._texts = texts
        self._shingler = Shingler(params)
        self._step = step
        self._held: OrderedDict[int, Shingles] = OrderedDict()

    def originals(self) -> Ints:
        """(n,) for each text the earliest that it is a near-duplicate of; -1: it is none."""
        of = np.full(len(self._texts), -1, dtype=np.int64)
        kept: dict[int, list[int]] = {}
        for number, buckets in self._shared_buckets():
            self._step(len(self._texts), len(self._texts))
            candidates = sorted({other for bucket in buckets for other in kept.get(bucket, ())})
            of[number] = next((other for other in candidates if self.alike(number, other)), -1)
            if of[number] < 0:
                for bucket in buckets:
                    kept.setdefault(bucket, []).append(number)
        return of

    def alike(self, one: int, other: int) -> bool:
        if self._texts[one].kind != self._texts[other].kind:
            return False
        ours, theirs = self._shingles(one), self._shingles(other)
        if not self._near(ours.text, theirs.text):
            return False
        if ours.text_pair is None or theirs.text_pair is None:
            return ours.text_pair is theirs.text_pair
        return self._near(ours.text_pair, theirs.text_pair)

    def _near(self, ours: Shingled, theirs: Shingled) -> bool:
        return any(
            mine is not None and other is not None and jaccard(mine, other) >= self._threshold
            for mine, other in zip(ours, theirs, strict=True)
        )

    def _shingles(self, number: int) -> Shingles:
        if number not in self._held:
            text, pair, _ = self._texts[number]
            held = Shingles(self._shingler.of(text), None if pair is None else self._shingler.of(pair))
            self._held[number] = held
            if len(self._held) > REMEMBERED:
                self._held.popitem(last=False)
        return self._held[number]

    def _shared_buckets(self) -> Iterator[tuple[int, list[int]]]:
        """Texts in their order, each with the buckets that it shares with others."""
        numbers, buckets, count = [], [], 0
        for members, hashes in self._hashed():
            for band in hashes.T:
                _, bucket, sizes = np.unique(band, return_inverse=True, return_counts=True)
                shared = sizes[bucket] > 1
                numbers.append(members[shared])
                buckets.append(bucket[shared] + count)
                count += len(sizes)
        if not any(len(members) for members in numbers):
            return
        members, places = np.concatenate(numbers), np.concatenate(buckets)
        order = np.argsort(members, kind="stable")
        found, starts = np.unique(members[order], return_index=True)
        for number, mine in zip(found.tolist(), np.split(places[order], starts[1:]), strict=True):
            yield number, mine.tolist()

    def _hashed(self) -> Iterator[tuple[Ints, Hashes]]:
        """For each way of comparison the texts that have it, (m,), and their bands' hashes, (m, bands)."""
        found: dict[tuple[int, ...], list[tuple[list[int], Hashes]]] = {}
        for start in range(0, len(self._texts), CHUNK):
            self._step(start, len(self._texts))
            chunk: dict[tuple[int, ...], list[tuple[int, Hashes]]] = {}
            for number in range(start, min(start + CHUNK, len(self._texts))):
                for way, elements in _ways(self._shingles(number), self._texts[number].kind):
                    chunk.setdefault(way, []).append((number, elements))
            for way, sets in chunk.items():
                hashes = self._minhash.band_hashes([elements for _, elements in sets])
                found.setdefault(way, []).append(([number for number, _ in sets], hashes))
        for parts in found.values():
            members = np.array([number for numbers, _ in parts for number in numbers], dtype=np.int64)
            yield members, np.concatenate([hashes for _, hashes in parts])


def _ways(shingles: Shingles, kind: int) -> Iterator[tuple[tuple[int, ...], Hashes]]:
    """How a text may be compared, and its set in each: of a pair both sides in one set, told apart.

    Where each side is similar enough, so is that set: (a + c) / (b + d) is no less than both a / b and c / d.
    """
    for first, elements in enumerate(shingles.text):
        if elements is None:
            continue
        if shingles.text_pair is None:
            if len(elements):
                yield (kind, first), elements
            continue
        for second, others in enumerate(shingles.text_pair):
            if others is not None and len(elements) + len(others):
                yield (kind, first, second), np.concatenate([elements, mix(others)])
