"""`response=vector`: the mean projected gradient of every sample, beside the score records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from models.gradients import MeanProjections

ARRAYS = ("values", "scales", "visits", "mean_norms")


class ResponseBook:
    """Means by ordinal, for the generation of each sample's content that they were taken of.

    Deterministic to the bit: the same visits in the same order leave the same bytes.
    """

    def __init__(self, ordinals: int, dim: int) -> None:
        self._means = MeanProjections(ordinals, dim)
        self._generations: NDArray[np.uint32] = np.zeros(ordinals, dtype=np.uint32)
        self._ids: NDArray[np.object_] = np.full(ordinals, None, dtype=object)

    @property
    def dim(self) -> int:
        return self._means.dim

    def name(self, ordinals: NDArray[np.int64], ids: Sequence[str]) -> None:
        self._ids[ordinals] = ids

    def add(
        self,
        ordinals: NDArray[np.int64],
        generations: NDArray[np.uint32],
        projections: NDArray[np.float32],
        norms: NDArray[np.float64],
    ) -> None:
        """One visit of each of these samples; what was taken of older content of a sample is forgotten."""
        self._means.forget(ordinals[self._generations[ordinals] != generations])
        self._generations[ordinals] = generations
        self._means.add(ordinals, projections, norms)

    def state(self) -> dict[str, Any]:
        """For the checkpoint; the tensors share the arrays' memory."""
        arrays = {name: torch.from_numpy(getattr(self._means, name)) for name in ARRAYS}
        return arrays | {"generations": torch.from_numpy(self._generations.view(np.int32))}

    def load_state(self, state: dict[str, Any]) -> None:
        held = len(state["visits"])
        for name in ARRAYS:
            getattr(self._means, name)[:held] = state[name].numpy()
        self._generations[:held] = state["generations"].numpy().view(np.uint32)

    def continue_from(self, table: pa.Table) -> None:
        """Go on from what an earlier run of the lineage left."""
        ordinals = table["ordinal"].to_numpy()
        self._ids[ordinals] = table["id"].to_numpy(zero_copy_only=False)
        self._generations[ordinals] = table["generation"].to_numpy()
        flat = table["mean_projection"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        self._means.values[ordinals] = flat.reshape(len(ordinals), -1)
        self._means.scales[ordinals] = table["scale"].to_numpy()
        self._means.visits[ordinals] = table["visits"].to_numpy()
        self._means.mean_norms[ordinals] = table["mean_norm"].to_numpy()

    def table(self) -> pa.Table:
        """Every sample with a visit. ``mean_projection`` times ``scale`` is the mean projected gradient."""
        rows = np.flatnonzero(self._means.visits)
        flat = pa.array(self._means.values[rows].ravel(), type=pa.float16())
        return pa.table(
            {
                "id": pa.array(self._ids[rows], type=pa.string()),
                "ordinal": rows,
                "generation": self._generations[rows],
                "visits": self._means.visits[rows],
                "response": self._means.response(rows),
                "mean_norm": self._means.mean_norms[rows],
                "coherence": self._means.coherence(rows),
                "scale": self._means.scales[rows],
                "mean_projection": pa.FixedSizeListArray.from_arrays(flat, self.dim),
            }
        )

    def summary(self, ordinals: NDArray[np.int64]) -> dict[str, Any]:
        """Over these samples, for the job's result."""
        coherence = self._means.coherence(ordinals)
        shares = np.quantile(coherence, (0.1, 0.5, 0.9)).tolist() if len(ordinals) else [None] * 3
        return {
            "projection_dim": self.dim,
            "samples": len(ordinals),
            "visits": int(self._means.visits[ordinals].sum()),
            "mean_response": float(self._means.response(ordinals).mean()) if len(ordinals) else None,
            "coherence": dict(zip(("p10", "median", "p90"), shares, strict=True)),
        }
