"""Where samples were found last, so that whoever asks for them again need not ask the index."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np

SLOTS = 2**22
"""Of 8 bytes each; memory is taken as they fill. Of a million ids, nine in ten find theirs."""


class OrdinalHints:
    """The ordinals of ids, by their CRC-32; an id has one slot, and takes it from whoever was there before.

    What is remembered may be of another id with the same CRC-32, or of one that is deleted, or of a state
    that a restart of Redis has lost: only the entry at that ordinal tells.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        """Args: slots: a power of two."""
        self._mask = np.uint32(slots - 1)
        self._crcs = np.zeros(slots, np.uint32)
        self._ordinals = np.zeros(slots, np.uint32)  # and one: 0 where nothing is remembered

    def of(self, uid: str, crcs: Sequence[int]) -> list[int]:
        """Ordinals that the ids of these CRC-32 may have in a dataset; -1 where none is remembered."""
        mixed, slots = self._places(uid, crcs)
        ordinals = self._ordinals[slots].astype(np.int64) - 1
        ordinals[self._crcs[slots] != mixed] = -1
        told: list[int] = ordinals.tolist()
        return told

    def keep(self, uid: str, crcs: Sequence[int], ordinals: Sequence[int]) -> None:
        mixed, slots = self._places(uid, crcs)
        self._crcs[slots] = mixed
        self._ordinals[slots] = np.asarray(ordinals, np.uint32) + np.uint32(1)

    def _places(self, uid: str, crcs: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        # Datasets with the same ids must not share their slots.
        mixed = np.asarray(crcs, np.uint32) ^ np.uint32(crc32(uid.encode()))
        return mixed, mixed & self._mask
