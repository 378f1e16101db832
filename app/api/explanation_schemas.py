"""The explanation of a sample, as the OpenAPI document shows it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.prediction_schemas import TokenOut
from app.api.schemas import LabelValue, SetValue


class Rank(BaseModel):
    """By importance, 1 the highest."""

    overall: int
    of: int
    within_label: int
    of_label: int


class Visit(BaseModel):
    run: int = Field(description="Of the lineage.")
    epoch: int = Field(description="Of the run; of `grow`, the round.")
    correct: bool
    grad_norm: float
    loss: float
    el2n: float
    margin: float
    confidence: float
    alignment: float | None


class Other(BaseModel):
    id: str
    text: str
    text_pair: str | None
    label: LabelValue | None


class Neighbour(Other):
    similarity: float = Field(description="Cosine, in the model's embedding.")
    set: SetValue


class Affected(Other):
    alignment: float = Field(
        description="Cosine of the two gradients of the last layer, as the optimiser stretches them: "
        "above 0, a step on the one lowers the loss of the other."
    )


class AttributionsOut(BaseModel):
    job: str = Field(description="The train job whose model it was.")
    label: LabelValue = Field(description="What that model says.")
    probability: float
    attributions: list[TokenOut]


class ExplanationOut(BaseModel):
    id: str
    text: str
    text_pair: str | None
    label: LabelValue | None
    set: SetValue
    reason: str
    rule: str = Field(description="What decided, in words.")
    version: int | None
    policy: str | None
    job: str | None = Field(description="That made the sets.")
    lineage: str | None = Field(description="Whose scores they are of.")
    provenance: dict[str, Any] | None = Field(
        description="Which samples, model, code and machine that job worked with; as in its result."
    )
    importance: float | None
    rank: Rank | None
    noise_probability: float | None
    review: Literal["correct", "wrong", "unsure"] | None = Field(description="The verdict in force.")
    suggested_label: LabelValue | None = Field(
        description="What the evidence suggests in place of the label; null: the label, or unknown."
    )
    model_label: LabelValue | None = Field(description="What the model said when it last saw the sample.")
    model_probability: float | None
    trajectory: list[Visit] = Field(description="Every visit in the present lineage, oldest first.")
    neighbours: list[Neighbour] = Field(description="The nearest train samples, at most 10.")
    helps: list[Affected] = Field(
        description="Validation samples that training on it helps most, at most 10."
    )
    hurts: list[Affected] = Field(description="Those that it hurts most, at most 10.")
    attributions: AttributionsOut | None = Field(
        description="Where they were asked for: what each token says to the newest trained model."
    )
