"""Bodies of requests for predictions, and of their answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from app.api.schemas import LabelValue
from app.contracts.base import Strict, Text
from app.services.predictions import MOST_TEXTS


class TextIn(Strict):
    text: Text
    text_pair: Text | None = Field(
        default=None, description="As the train samples had it: with every text, or with none."
    )


class PredictIn(Strict):
    texts: list[TextIn] = Field(
        min_length=1, max_length=MOST_TEXTS, description="Cut to the model's `max_length`, as in training."
    )
    job: Annotated[Text, Field(max_length=64)] | None = Field(
        default=None,
        description="A train job of this dataset that has succeeded. Left out: the one that was sent last.",
    )


class Prediction(BaseModel):
    label: LabelValue = Field(description="The most probable one, the first of them on a tie.")
    probability: float = Field(description="Of this label.")
    probabilities: list[float] = Field(description="Of every label, in the order of `labels`.")
    grade: float | None = Field(
        default=None, description="Only for task `relevance`: the expected grade, the mean over the labels."
    )


class PredictOut(BaseModel):
    job: str = Field(description="The train job whose model it was.")
    labels: list[LabelValue]
    predictions: list[Prediction] = Field(description="In the order of `texts`.")
