"""What the API asks of a predictor, and what it answers."""

from __future__ import annotations

import msgspec


class PredictionRequest(msgspec.Struct, frozen=True):
    """n texts, and the second text of each or None."""

    texts: list[str]
    pairs: list[str | None]


class PredictionAnswer(msgspec.Struct, frozen=True):
    """probabilities: (n, classes), None with an `error`."""

    probabilities: list[list[float]] | None = None
    error: PredictionError | None = None


class PredictionError(msgspec.Struct, frozen=True):
    code: str
    detail: str
    remedy: str
