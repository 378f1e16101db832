"""What models have said of samples that did not teach them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass
class Hearing:
    """sums: (n, classes) of log probabilities. times: (n,) of how many models."""

    sums: NDArray[np.float32]
    times: NDArray[np.int64]

    @classmethod
    def of_nothing(cls, count: int, classes: int) -> Hearing:
        return cls(np.zeros((count, classes), np.float32), np.zeros(count, np.int64))

    def with_more(self, *spoken: tuple[NDArray[np.int64], NDArray[np.float32]]) -> Hearing:
        """With what further models said: of samples at positions (m,), logits (m, classes)."""
        sums, times = self.sums.copy(), self.times.copy()
        for positions, logits in spoken:
            sums[positions] += torch.log_softmax(torch.from_numpy(logits), dim=1).numpy()
            times[positions] += 1
        return Hearing(sums, times)

    def means(self) -> NDArray[np.float64]:
        """(n, classes) mean log probabilities; NaN for samples that no model spoke of."""
        with np.errstate(invalid="ignore"):
            times = np.where(self.times > 0, self.times, np.nan)
            return np.asarray(self.sums / times[:, None], dtype=np.float64)
