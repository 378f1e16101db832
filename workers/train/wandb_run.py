"""The course of a training at Weights & Biases, where GRADSIFT_WANDB_PROJECT is set."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from app.contracts import Job
from app.logs import get_logger
from app.settings import Settings
from workers.train.scalars import Scalar

PATIENCE_SECONDS = 30.0
SUMMARY = (
    "set",
    "set_version",
    "lineage",
    "train_samples",
    "data_version",
    "model_revision",
    "steps",
    "seconds",
)
log = get_logger(__name__)


def tell_wandb(settings: Settings, job: Job, course: Iterable[Scalar], result: Mapping[str, Any]) -> None:
    """One run a job, under the job's id: figures by step, parameters, what the model was trained on.

    No texts, labels or ids of samples, no files, nothing of the machine.
    Bears repetition. What goes wrong there does not end the job: its result holds all of it.
    """
    if settings.wandb_project is None:
        return
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # or its own crash reports go to its makers
    import wandb

    by_step: dict[int, dict[str, float]] = defaultdict(dict)
    for one in course:
        by_step[one.step][one.name] = one.value
    try:
        with tempfile.TemporaryDirectory() as folder, _run(wandb, settings, job, folder) as run:
            for step in sorted(by_step):
                run.log(by_step[step], step=step)
            run.summary.update({name: result[name] for name in SUMMARY})
    except (wandb.errors.Error, OSError, TimeoutError) as error:
        log.warning("the run is missing at Weights & Biases", job_id=job.id, error=str(error))
    finally:
        wandb.teardown()  # the process that sends; it would stay for as long as this worker


def _run(wandb: Any, settings: Settings, job: Job, folder: str) -> Any:
    return wandb.init(
        project=settings.wandb_project,
        id=job.id,
        name=f"{job.dataset} {job.id}",
        group=job.dataset,
        job_type=job.kind.value,
        resume="allow",
        config={"dataset": job.dataset, "model": job.model, **_without_ids(job.params)},
        dir=os.environ.get("WANDB_DIR", folder),
        settings=wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            silent=True,
            x_disable_meta=True,
            x_save_requirements=False,
            x_disable_stats=True,
            x_disable_machine_info=True,
            init_timeout=PATIENCE_SECONDS,
            finish_timeout=PATIENCE_SECONDS,
            finish_timeout_raises=True,
        ),
    )


def _without_ids(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name != "ids"}
