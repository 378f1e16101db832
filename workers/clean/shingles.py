"""A text as a set of shingles: runs of words or characters, each hashed to 64 bits.

Long texts are compared by words, short ones by characters, of which a short text has enough to tell how much
two differ. Texts in between have both, so that texts of about one length always share a way of comparison.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.contracts.params import CleanParams
from workers.clean.words import bare, words

Hashes = NDArray[np.uint64]
WORDS_FROM = 8
"""A text has word shingles from so many words on."""
CHARACTERS_BELOW = 16
"""And character shingles below so many: twice as many, since texts of half the length are not alike."""
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
KNOWN_WORDS = 2**20


class Shingled(NamedTuple):
    """Sets of 64-bit hashes, rising; None where the text is not compared in that way."""

    words: Hashes | None
    characters: Hashes | None


class Shingler:
    def __init__(self, params: CleanParams) -> None:
        self._word_shingle = params.word_shingle
        self._character_shingle = params.character_shingle
        self._known: dict[str, int] = {}

    def of(self, text: str) -> Shingled:
        found = words(text)
        by_words = by_characters = None
        if len(found) >= WORDS_FROM:
            by_words = runs(self._hashed(found), self._word_shingle)
        if len(found) < CHARACTERS_BELOW:
            codes = np.frombuffer(bare(text).encode("utf-32-le"), dtype="<u4")
            by_characters = runs(codes.astype(np.uint64), self._character_shingle)
        return Shingled(by_words, by_characters)

    def _hashed(self, found: list[str]) -> Hashes:
        if len(self._known) > KNOWN_WORDS:
            self._known.clear()
        known = self._known
        for word in found:
            if word not in known:
                known[word] = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")
        return np.array([known[word] for word in found], dtype=np.uint64)


def runs(codes: Hashes, size: int) -> Hashes:
    """The hashes of all runs of so many codes, each once, rising; one of all where there are fewer codes."""
    if not len(codes):
        return codes
    size = min(size, len(codes))
    count = len(codes) - size + 1
    mixed = np.full(count, size, dtype=np.uint64)
    for place in range(size):
        mixed = mix(mixed * _MULTIPLIER + codes[place : place + count])
    return np.unique(mixed)


def mix(values: Hashes) -> Hashes:
    """A permutation of the 64-bit numbers that looks random (splitmix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def jaccard(ours: Hashes, theirs: Hashes) -> float:
    """|A ∩ B| / |A ∪ B|; 1 for two empty sets."""
    both = len(np.intersect1d(ours, theirs, assume_unique=True))
    either = len(ours) + len(theirs) - both
    return both / either if either else 1.0
