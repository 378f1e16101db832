"""What a client may say of how long a job may run, whatever its kind."""

from __future__ import annotations

from pydantic import Field

from app.contracts.base import Real, Strict


class BudgetParams(Strict):
    max_minutes: Real | None = Field(
        default=None,
        gt=0,
        description="Running time, all attempts together and without the time in the queue, after which the "
        "job stops within a step; null: no limit.",
    )
