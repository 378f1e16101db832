"""What each run of a job with several `seeds` came to, and how far the runs agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from models.agreement import mean_intervals, rank_correlations
from workers.score.data import Rows

LEVEL = 0.95
FILE = "importance-by-run.parquet"


class Repeats:
    """The mean gradient norm of each of the job's n train samples in each of its runs."""

    def __init__(self, count: int) -> None:
        self._runs: list[NDArray[np.float64]] = []
        self._sums = np.zeros(count)
        self._visits = np.zeros(count, dtype=np.int64)

    def add(self, positions: NDArray[np.int64], grad_norm: NDArray[np.float64]) -> None:
        """A step's visits, no position twice."""
        self._sums[positions] += grad_norm
        self._visits[positions] += 1

    def end_run(self) -> None:
        self._runs.append(self._sums / np.maximum(self._visits, 1))
        self._sums, self._visits = np.zeros_like(self._sums), np.zeros_like(self._visits)

    def state(self) -> dict[str, Any]:
        return {
            "runs": [torch.from_numpy(run) for run in self._runs],
            "sums": torch.from_numpy(self._sums),
            "visits": torch.from_numpy(self._visits),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self._runs = [run.numpy() for run in state["runs"]]
        self._sums, self._visits = state["sums"].numpy(), state["visits"].numpy()

    def table(self, train: Rows) -> pa.Table:
        """A row for each sample: `importance` is the mean of `runs`, `low` to `high` its 95 % interval."""
        runs = np.stack(self._runs)
        means, half = mean_intervals(runs, LEVEL)
        by_run = pa.FixedSizeListArray.from_arrays(pa.array(runs.T.ravel()), len(runs))
        columns = {"importance": means, "low": means - half, "high": means + half, "runs": by_run}
        return pa.table({"id": train.ids, "ordinal": train.ordinals, **columns})

    def told(self) -> dict[str, Any]:
        """For the job's result. A half width is relative to the importance, at the median of the samples."""
        runs = np.stack(self._runs)
        means, half = mean_intervals(runs, LEVEL)
        agreed = rank_correlations(runs)
        known = bool(np.isfinite(agreed).all())
        relative = half[means > 0] / means[means > 0]
        return {
            "runs": len(runs),
            "rank_correlation": {
                "mean": float(agreed.mean()) if known else None,
                "least": float(agreed.min()) if known else None,
            },
            "interval": {
                "level": LEVEL,
                "relative_half_width": float(np.median(relative)) if len(relative) else None,
            },
            "file": FILE,
        }
