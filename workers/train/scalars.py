"""The course of a training as single figures, for whoever draws curves of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workers.train.fitting import Course


@dataclass(frozen=True)
class Scalar:
    """A figure by step. name: `train/loss`, `validation/accuracy`, …. time: seconds since 1970."""

    name: str
    value: float
    step: int
    time: float


def scalars(course: Course, result: Mapping[str, Any]) -> Iterator[Scalar]:
    """Loss and learning rate by step, validation metrics by the epochs' last steps, those of the test split
    at the end. From what the checkpoints kept: a job that was killed has each of them once."""
    times = {int(point["step"]): point["time"] for point in course.points}
    for point in course.points:
        for name in ("loss", "learning_rate"):
            yield Scalar(f"train/{name}", point[name], int(point["step"]), point["time"])
    for epoch in course.epochs:
        yield from _metrics("validation", epoch["validation"], epoch["step"], times)
    yield from _metrics("test", result["test"], course.step, times)


def _metrics(
    split: str, metrics: Mapping[str, float | None] | None, step: int, times: Mapping[int, float]
) -> Iterator[Scalar]:
    for name, value in (metrics or {}).items():
        if value is not None and name != "count":
            yield Scalar(f"{split}/{name}", value, step, times[step])
