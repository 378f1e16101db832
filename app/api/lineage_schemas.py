"""Lineages and their runs, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from app.contracts.base import Timestamp


class RunOut(BaseModel):
    run: int = Field(description="Its number in the lineage.")
    job: str | None
    ended: bool = Field(description="Whether its worker saw its end.")
    epochs: int = Field(description="Whose visits are stored.")
    provenance: dict[str, Any] | None = Field(
        description="Which samples (`data`), model, code, seed, parameters, libraries and device it had."
    )


class LineageItem(BaseModel):
    id: str
    model: str
    revision: str
    trainable: str = Field(description="Digest over names and shapes of what is trained.")
    formula: str
    settings: str = Field(description="Overrides of the config, and adapters, as JSON.")
    created_at: Timestamp
    active: bool = Field(description="Whether it is the dataset's present one.")
    runs: list[RunOut] = Field(description="Newest first.")


class LineageList(BaseModel):
    items: list[LineageItem]
