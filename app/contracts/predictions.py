"""What the API asks of a predictor, and what it answers."""

from __future__ import annotations

import msgspec


class PredictionRequest(msgspec.Struct, frozen=True):
    """n texts, and the second text of each or None. attributions: what each token adds is asked for, too.
    request_id: of the client's request, for the predictor's log."""

    texts: list[str]
    pairs: list[str | None]
    attributions: bool = False
    request_id: str = ""


class TokenValue(msgspec.Struct, frozen=True):
    """A token, where it stands in its text (`start` to `end`, in characters), whether that is the second one,
    and what it adds to the logit of the class that the model gives the text."""

    token: str
    start: int
    end: int
    second: bool
    value: float


class PredictionAnswer(msgspec.Struct, frozen=True):
    """probabilities: (n, classes), None with an `error`. attributions: the tokens of n texts, where they were
    asked for."""

    probabilities: list[list[float]] | None = None
    attributions: list[list[TokenValue]] | None = None
    error: PredictionError | None = None


class PredictionError(msgspec.Struct, frozen=True):
    code: str
    detail: str
    remedy: str
