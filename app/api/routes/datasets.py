"""/v1/datasets"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from app.api.dependencies import DatasetDep, NewName, ServiceDep
from app.api.schemas import (
    DatasetBrief,
    DatasetDetails,
    DatasetIn,
    DatasetList,
    DatasetOut,
    FileUsage,
    RedisPartUsage,
    RedisUsage,
    UsageOut,
)
from app.contracts import SetName
from app.services import datasets as use
from app.services.datasets import DatasetSummary
from app.services.overviews import overviews
from app.services.usage import usage

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


@router.put("/{dataset}", responses={201: {"model": DatasetOut}})
def put_dataset(dataset: NewName, body: DatasetIn, service: ServiceDep, response: Response) -> DatasetOut:
    """Creates a dataset (201), or finds it there with the same task (200)."""
    labels = None if body.labels is None else tuple(body.labels)
    held, created = use.put_dataset(
        service.state, dataset, body.task, labels, body.description, body.settings
    )
    response.status_code = 201 if created else 200
    return _shown(use.summary(service.state, held))


@router.get("")
def list_datasets(
    service: ServiceDep,
    details: Annotated[bool, Query(description="With counts, set sizes and the last job of each.")] = False,
) -> DatasetList:
    """Every dataset, by name."""
    datasets = service.state.datasets.all()
    told = overviews(service.state, datasets) if details else {}
    items = []
    for held in datasets:
        shown = None if held.uid not in told else DatasetDetails.model_validate(told[held.uid])
        items.append(DatasetBrief.model_validate(_brief(held.model_dump()) | {"details": shown}))
    return DatasetList(items=items)


@router.get("/{dataset}")
def get_dataset(dataset: DatasetDep, service: ServiceDep) -> DatasetOut:
    """Counts by split and label, set sizes, the active lineage."""
    return _shown(use.summary(service.state, dataset))


@router.get("/{dataset}/usage")
def get_usage(dataset: DatasetDep, service: ServiceDep) -> UsageOut:
    """What it takes up, by part. Looks at every file and key: seconds, for a large dataset."""
    found = usage(service.state, service.settings, dataset)
    return UsageOut(
        files=FileUsage(**found.files),
        files_total=sum(found.files.values()),
        redis=RedisUsage(**{part: RedisPartUsage.model_validate(held) for part, held in found.redis.items()}),
        redis_total=sum(held.bytes for held in found.redis.values()),
        versions=found.versions,
        pinned=found.pinned,
        deletions_pending=found.deletions_pending,
    )


@router.delete("/{dataset}", status_code=204)
def delete_dataset(dataset: DatasetDep, service: ServiceDep) -> None:
    """Deletes the dataset with its samples, scores and sets; a job that runs on it is cancelled."""
    use.delete_dataset(service.state, service.settings, dataset)


def _brief(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"set_version": fields["set_version"] or None}


def _shown(summary: DatasetSummary) -> DatasetOut:
    sizes = {name.value: 0 for name in SetName} | (summary.sets.sizes if summary.sets else {})
    return DatasetOut.model_validate(
        _brief(summary.dataset.model_dump())
        | {
            "samples": summary.samples,
            "splits": {"train": 0, "validation": 0, "test": 0} | summary.splits,
            "label_counts": [{"label": label, "samples": count} for label, count in summary.labels],
            "sets": sizes | {"unscored": summary.samples - sum(sizes.values())},
            "lineage": None if summary.lineage is None else summary.lineage.model_dump(),
        }
    )
