"""Who lies near whom in an embedding, and what labels they have."""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]

EXACT_UP_TO = 50_000
"""Beyond, an inverted file: the neighbours of a sample are looked for in the cells nearest to it."""
_PROBES = 16
_CELLS_A_ROOT = 4
_TRAINING_ROWS_A_CELL = 64


@dataclass(frozen=True)
class Neighbours:
    """indices: (m, k) int64, positions of the nearest, nearest first. cosines: (m, k) float32."""

    indices: Ints
    cosines: Floats32

    def votes(self, weights: Floats) -> Floats:
        """(m, classes) what the neighbours stand for, summing to 1: Σ_j cos²_ij · weights_j.

        weights: (n, classes), of the samples that were searched; one-hot labels, or probabilities. A row
        without any neighbour of positive cosine is uniform.
        """
        shares = np.square(np.maximum(self.cosines, 0.0)).astype(np.float64)
        found = np.zeros((len(shares), weights.shape[1]))
        for rank in range(shares.shape[1]):
            found += shares[:, rank, None] * weights[self.indices[:, rank]]
        found += 1e-9
        return np.asarray(found / found.sum(axis=1, keepdims=True))


def unit_rows(embedding: Floats32, centre: Floats32 | None = None) -> Floats32:
    """Rows less the centre, at length 1; a row of zeros stays. embedding: (n, dim), centre: (dim,)."""
    moved = embedding if centre is None else embedding - centre
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.ascontiguousarray(moved / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)


def nearest_neighbours(searched: Floats32, asked: Floats32 | None = None, *, k: int) -> Neighbours:
    """The k rows of `searched` (n, dim) with the highest cosine to each row of `asked` (m, dim).

    Without `asked`, to each row of `searched` but itself. Rows have length 1. Exact up to 50,000 rows;
    beyond, approximate by faiss's inverted file (Jégou et al. 2011), the same every time.
    """
    itself = asked is None
    wanted = min(k + itself, len(searched))
    index = _index(searched)
    cosines, indices = index.search(searched if asked is None else asked, wanted)
    found = Neighbours(indices.astype(np.int64), cosines)
    return _without_itself(found, wanted - 1) if itself else found


def _index(searched: Floats32) -> faiss.Index:
    count, dim = searched.shape
    flat = faiss.IndexFlatIP(dim)
    if count <= EXACT_UP_TO:
        flat.add(searched)
        return flat
    cells = int(_CELLS_A_ROOT * np.sqrt(count))
    index = faiss.IndexIVFFlat(flat, dim, cells, faiss.METRIC_INNER_PRODUCT)
    index.train(searched[:: max(1, count // (_TRAINING_ROWS_A_CELL * cells))])
    index.add(searched)
    index.nprobe = _PROBES
    return index


def _without_itself(found: Neighbours, k: int) -> Neighbours:
    """Leaves out each row's own position; where twins crowd it out, the last one goes."""
    own = found.indices == np.arange(len(found.indices))[:, None]
    own[~own.any(axis=1), -1] = True
    keep = ~own
    shape = (len(found.indices), k)
    indices = found.indices[keep].reshape(shape)
    cosines = np.where(indices >= 0, found.cosines[keep].reshape(shape), 0.0).astype(np.float32)
    return Neighbours(np.maximum(indices, 0), cosines)
