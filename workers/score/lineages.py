"""Which lineage a job's scores go to: the dataset's present one, if they may be added up with it."""

from __future__ import annotations

import json

from app.contracts import Claim, Dataset, Lineage, now
from app.contracts.params import SortingParams
from app.store.state import State
from models.encoders import LoadedClassifier, trainable_signature


def open_lineage(
    state: State, dataset: Dataset, claim: Claim, params: SortingParams, classifier: LoadedClassifier
) -> tuple[Lineage, int]:
    """The lineage, and the number of this run in it; the same for every attempt of the job.

    The dataset's present lineage is continued when model, revision, trainable parameters, formula, config
    overrides and adapters agree; otherwise, or with `fresh`, a new one begins.
    """
    mine = Lineage(
        id=f"lin_{claim.job.id.removeprefix('job_')}",
        model=claim.job.model,
        revision=classifier.revision,
        trainable=trainable_signature(classifier.model),
        settings=_settings(params),
        created_at=now(),
    )
    present = None if dataset.lineage is None else state.datasets.lineage(dataset, dataset.lineage)
    goes_on = present is not None and not params.fresh and present.same_origin(mine)
    proposed = present if goes_on and present is not None else mine
    lineage_id, run = state.jobs.remember(claim, "run", [proposed.id, proposed.runs + 1])
    lineage = state.datasets.lineage(dataset, lineage_id) or mine
    lineage = lineage.model_copy(update={"runs": max(lineage.runs, run)})
    with state.datasets.writing(dataset):
        state.archive.of_dataset(dataset).save_lineage(lineage)
        keep_lineage(state, dataset, claim, lineage)
        state.archive.save_manifest(dataset)
    state.archive.save_job(claim.job.id)
    return lineage, run


def keep_lineage(state: State, dataset: Dataset, claim: Claim, lineage: Lineage) -> None:
    """Redis knows the lineage with its count of runs, and that the job adds to it; bears repetition.

    Raises:
        StaleWorker: another worker has taken the dataset over.
    """
    state.datasets.save_lineage(dataset, lineage, claim.token)
    state.datasets.show_lineage_if_first(dataset, lineage)
    state.jobs.set_lineage(claim, lineage.id)


def _settings(params: SortingParams) -> str:
    """What changes the model beyond its files."""
    shown = params.model_dump(mode="json", include={"model_config_", "peft"})
    return json.dumps(shown, sort_keys=True)
