"""Bodies of requests and answers about the data map, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from app.api.schemas import LabelValue, SetValue
from app.contracts import Split
from app.contracts.base import Count, Strict

Ordinal = Annotated[Count, Field(ge=0, lt=2**32)]


class PointsIn(Strict):
    ordinals: list[Ordinal] = Field(max_length=10_000, description="As the map names them.")


class PointOut(BaseModel):
    ordinal: int
    id: str
    text: str = Field(description="Its first 200 characters.")
    label: LabelValue | None
    split: Split
    set: SetValue
    reason: str


class PointsOut(BaseModel):
    items: list[PointOut] = Field(description="In the order asked, without samples that are gone.")
