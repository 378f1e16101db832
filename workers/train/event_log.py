"""The course of a training as TensorBoard reads it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from app.contracts import Job
from workers.train.scalars import Scalar

FOLDER = "tensorboard"


def event_log_name(job: Job) -> str:
    """The same for every attempt: two files of events would be two curves over one another."""
    return f"{FOLDER}/events.out.tfevents.{int(job.created_at.timestamp())}.{job.id}"


def event_log(course: Iterable[Scalar]) -> bytes:
    """Events. Written once all is done: a job that was killed has each point once."""
    from tensorboardX import SummaryWriter  # a worker starts without it

    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder) as writer:
            for one in course:
                writer.add_scalar(one.name, one.value, one.step, one.time)
        (written,) = Path(folder).iterdir()
        return written.read_bytes()
