"""How torch's threads wait; to be said before torch is imported."""

from __future__ import annotations

import os


def spin_little() -> None:
    """How long threads spin for the next small operation before they sleep.

    On idle cores as fast as libgomp's own choice, on cores that others use several times as fast
    (docs/benchmarks.md).
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
