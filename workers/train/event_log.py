"""The course of a training as TensorBoard reads it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.contracts import Job
from workers.train.fitting import Course

FOLDER = "tensorboard"


def event_log_name(job: Job) -> str:
    """The same for every attempt: two files of events would be two curves over one another."""
    return f"{FOLDER}/events.out.tfevents.{int(job.created_at.timestamp())}.{job.id}"


def event_log(course: Course, result: Mapping[str, Any]) -> bytes:
    """Events: loss and learning rate by step, validation metrics by the epochs' last steps, those of the test
    split at the end.

    Written once all is done, from what the checkpoints kept: a job that was killed has each point once.
    """
    from tensorboardX import SummaryWriter  # a worker starts without it

    times = {int(point["step"]): point["time"] for point in course.points}
    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder) as writer:
            for point in course.points:
                for name in ("loss", "learning_rate"):
                    writer.add_scalar(f"train/{name}", point[name], int(point["step"]), point["time"])
            for epoch in course.epochs:
                _add(writer, "validation", epoch["validation"], epoch["step"], times)
            _add(writer, "test", result["test"], course.step, times)
        (written,) = Path(folder).iterdir()
        return written.read_bytes()


def _add(
    writer: Any, split: str, metrics: Mapping[str, float | None] | None, step: int, times: Mapping[int, float]
) -> None:
    for name, value in (metrics or {}).items():
        if value is not None and name != "count":
            writer.add_scalar(f"{split}/{name}", value, step, times[step])
