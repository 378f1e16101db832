"""What a dry run tells, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.client import Json


def print_estimate(estimate: Json) -> None:
    """Also what could not be told."""
    seconds, cost, queue = estimate["seconds"], estimate["cost"], estimate["queue_seconds"]
    if estimate["steps"] is not None:
        print(f"{estimate['steps']} steps at most, on {estimate['train_samples']} train samples")
    if seconds is None:
        print("time: nothing to go by; run a smaller job of this model first")
    else:
        basis = estimate["basis"]
        if estimate["earlier_jobs"]:
            basis = f"{estimate['earlier_jobs']} {basis}"
        low, likely, high = (duration(seconds[name]) for name in ("low", "likely", "high"))
        print(f"time: {likely} ({low} to {high}), by {basis}")
    print(f"before it: {'cannot be told' if queue is None else duration(queue)}")
    if cost is not None:
        print(f"cost: {cost['likely']:.2f} {cost['currency']} ({cost['low']:.2f} to {cost['high']:.2f})")


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
