"""What a client may ask of a split job."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.contracts.base import Count, Real
from app.contracts.params.budget import BudgetParams
from app.contracts.splits import SplitBy

MetaField = Annotated[str, Field(strict=True, pattern=r"^meta\..", max_length=1024)]


class SplitParams(BudgetParams):
    by: SplitBy = Field(
        description="`stratified`: the same shares of every label. `group`: no group on both sides. "
        "`time`: the newest are tested on, and no group is on both sides."
    )
    validation: Real = Field(default=0.1, ge=0, lt=1, description="Share of the samples.")
    test: Real = Field(default=0.1, ge=0, lt=1, description="Share of the samples.")
    seed: Count = Field(default=0, ge=0, lt=2**63, description="Another seed gives another split.")
    field: MetaField | None = Field(
        default=None,
        description="`time` only: where the time stands; `meta.timestamp` when left out.",
    )
    keep: list[Literal["validation", "test"]] = Field(
        default=[],
        max_length=2,
        description="Splits that stay as they are; the shares are then of the other samples.",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test must leave something to train on")
        if self.field is not None and self.by is not SplitBy.TIME:
            raise ValueError("field is of splits by time")
        return self

    @property
    def time_field(self) -> str:
        """The name in `meta`."""
        return "timestamp" if self.field is None else self.field.removeprefix("meta.")
