"""Answers about what a clean job found."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from app.contracts import Split
from app.contracts.base import Timestamp
from app.contracts.flags import SampleFlag


class FlagCount(BaseModel):
    samples: int
    train: int
    validation: int
    test: int


class ExampleSample(BaseModel):
    id: str
    split: Split
    label: str | None
    group: str | None
    text: str = Field(description="A part of it; characters that nobody sees are written out.")
    text_pair: str | None


class Example(ExampleSample):
    of: ExampleSample | None = Field(
        description="What it copies, contradicts or leaks to; null where the flag tells of one alone."
    )


class CleaningOut(BaseModel):
    job: str = Field(description="The last clean job that has succeeded.")
    finished_at: Timestamp
    params: dict[str, Any]
    samples: int
    unchecked: int = Field(description="Samples that came or changed since; they have no flags.")
    flagged: int = Field(description="Samples with any flag that are as they were then.")
    flags: dict[SampleFlag, FlagCount]
    exclude_flags: list[SampleFlag] = Field(description="The dataset's setting.")
    excluded: int = Field(description="Train samples that jobs which train leave out because of it.")
    examples: dict[SampleFlag, list[Example]]
