"""The answer about a dataset's splits."""

from __future__ import annotations

from pydantic import BaseModel, Field

from app.contracts import Split
from app.contracts.base import Timestamp
from app.contracts.splits import SplitBy


class StratumOut(BaseModel):
    label: str | None = Field(description="Null: samples without a label, or with `by` group all groups.")
    samples: int = Field(description="How many the cuts were made from.")
    test_below: float = Field(description="Places below it, in [0, 1), are in test.")
    validation_below: float = Field(description="Places below it that are not in test are in validation.")


class SplitRuleOut(BaseModel):
    by: SplitBy
    validation: float
    test: float
    seed: int
    field: str | None
    keep: list[Split]
    strata: list[StratumOut] = Field(description="The cuts; empty for splits by time.")
    validation_from: float | None = Field(description="By time: from when on samples are in validation.")
    test_from: float | None = Field(description="By time: from when on samples are in test.")
    job: str
    created_at: Timestamp
    applied: bool = Field(description="False until the job has put every stored sample where it belongs.")


class LabelSplits(BaseModel):
    label: str | None
    splits: dict[Split, int]


class SplitsOut(BaseModel):
    rule: SplitRuleOut | None = Field(description="Null: samples are in the splits that they were sent with.")
    splits: dict[Split, int]
    labels: list[LabelSplits]
    used_by: str | None = Field(description="The first job that trained on the splits, which fixed them.")
