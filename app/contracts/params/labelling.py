"""What a client may ask of a job that makes samples of behaviour logs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, PlainSerializer, WithJsonSchema, model_validator

from app.contracts.base import Count, Flag, Real, Strict, rfc3339
from app.contracts.behaviors import BEHAVIORS, Behavior

Moment = Annotated[
    AwareDatetime,
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Grade = Annotated[Real, Field(ge=0, le=1000)]


class Grades(Strict):
    """The grade of each behaviour; the highest one that a user showed is the sample's."""

    view: Grade = Field(default=1, description="Of an item that was shown and looked at.")
    click: Grade = Field(default=2, description="Of an item that was opened.")
    cart: Grade = Field(default=3, description="Of an item that was put into the cart.")
    buy: Grade = Field(default=4, description="Of an item that was bought.")
    cancel: Grade = Field(default=0, description="Of an item whose only behaviour is a purchase taken back.")

    def of(self, behavior: Behavior) -> float:
        return float(getattr(self, behavior.value))


class TimeSplit(Strict):
    """Where time is cut: by shares of the samples, oldest first, or at moments."""

    validation: Real = Field(default=0.1, ge=0, lt=1, description="Share before the test split.")
    test: Real = Field(default=0.1, ge=0, lt=1, description="Share of the newest samples.")
    validation_from: Moment | None = Field(
        default=None, description="With this or `test_from`, shares do not count. Null: no validation split."
    )
    test_from: Moment | None = Field(
        default=None, description="Null beside `validation_from`: no test split."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test must leave a share to train on")
        if self.validation_from and self.test_from and self.validation_from > self.test_from:
            raise ValueError("validation_from must not be after test_from")
        return self


class LabelParams(Strict):
    grades: Grades = Field(
        default_factory=Grades, description="What each behaviour is worth; the highest one counts."
    )
    session_gap_minutes: Real = Field(
        default=30, gt=0, le=525_600, description="So long a pause begins a session, where events name none."
    )
    history_length: Count = Field(default=5, ge=1, le=100, description="Items in the first text.")
    history_behaviors: list[Literal["view", "click", "cart", "buy"]] | None = Field(
        default=None,
        min_length=1,
        description="What makes an item part of a history. Null: all, but views where they are impressions.",
    )
    negatives: Literal["sampled", "impressions", "none"] = Field(
        default="sampled",
        description="`sampled`: items known by then that the user has not touched. `impressions`: items of "
        "the same session and query that were viewed and no more.",
    )
    negatives_per_positive: Count = Field(
        default=1, ge=1, le=100, description="Items without an interaction for each one that has some."
    )
    split: TimeSplit = Field(
        default_factory=TimeSplit, description="Where time is cut into train, validation and test."
    )
    drop_bots: Flag = Field(default=True, description="Leave out users who act faster than people do.")
    max_events_per_minute: Count = Field(
        default=30,
        ge=1,
        le=100_000,
        description="A user with events at more different moments within a minute is a bot.",
    )
    max_samples: Count | None = Field(
        default=None, ge=1, description="Whole sessions, drawn by `seed`, up to so many samples; null: all."
    )
    seed: Count = Field(
        default=42, ge=0, lt=2**32, description="Of what is drawn: the same seed gives the same samples."
    )

    def history_of(self) -> tuple[Behavior, ...]:
        """The behaviours that make histories."""
        if self.history_behaviors is not None:
            return tuple(Behavior(name) for name in self.history_behaviors)
        without = {Behavior.CANCEL} | ({Behavior.VIEW} if self.negatives == "impressions" else set())
        return tuple(behavior for behavior in BEHAVIORS if behavior not in without)
