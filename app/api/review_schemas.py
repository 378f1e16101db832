"""Bodies of requests and answers about reviews, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from app.api.schemas import LabelValue, Rejected, SetValue
from app.contracts import Verdict
from app.contracts.base import Strict, Timestamp


class ReviewIn(Strict):
    verdict: Verdict
    label: LabelValue | None = Field(
        default=None,
        description="With `wrong`: the label that replaces the present one, whose score is void then.",
    )


class ReviewOut(BaseModel):
    sequence: int = Field(description="Counts the reviews of the dataset.")
    id: str | None = Field(description="Null, as its labels are, once the sample is deleted.")
    verdict: Literal["correct", "wrong", "unsure", "undo"]
    label: LabelValue | None = Field(description="The label that was judged.")
    new_label: LabelValue | None = Field(description="The label that replaced it; null: it stayed.")
    generation: int = Field(description="Of the content that was judged: it counts the sample's changes.")
    undoes: int | None = Field(description="With `undo`: the review that is taken back.")
    created_at: Timestamp


class SampleReviews(BaseModel):
    id: str
    in_force: ReviewOut | None = Field(
        description="The last verdict on the present content, or what it made."
    )
    history: list[ReviewOut] = Field(description="Oldest first.")


class ReviewPage(BaseModel):
    items: list[ReviewOut]
    next_cursor: str | None


class QueueItem(BaseModel):
    id: str
    text: str
    text_pair: str | None
    label: LabelValue
    suggested_label: LabelValue | None
    noise_probability: float | None
    set: SetValue
    reason: str
    importance: float


class QueueOut(BaseModel):
    version: int
    items: list[QueueItem]


class AnnotationsOut(BaseModel):
    received: int
    correct: int = Field(description="Labels that were confirmed.")
    wrong: int = Field(description="Labels that were replaced.")
    unchanged: int = Field(description="Already known, or older than the sample's last review.")
    skipped: int = Field(description="Tasks that nobody has annotated, and older ones of the same sample.")
    rejected_total: int
    rejected: list[Rejected] = Field(description="The first 10,000 of them.")
