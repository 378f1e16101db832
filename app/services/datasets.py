"""Datasets: create, describe, delete."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from app.contracts import Dataset, Label, Lineage, SetVersion, Task
from app.errors import Conflict, Invalid, NotFound
from app.store.artifacts import ArtifactStore
from app.store.samples import StoredLabel
from app.store.state import State


@dataclass(frozen=True)
class DatasetSummary:
    dataset: Dataset
    samples: int
    splits: dict[str, int]
    labels: list[tuple[Label | None, int]]
    sets: SetVersion | None
    lineage: Lineage | None


def put_dataset(
    state: State, name: str, task: Task, labels: tuple[Label, ...] | None, description: str | None
) -> tuple[Dataset, bool]:
    """The dataset of that name, and whether it was made now.

    Raises:
        Conflict: it exists with another task or other labels.
    """
    checked = None if labels is None else _check_labels(task, labels)
    dataset, created = state.datasets.create(name, task, checked, description)
    if created:
        state.samples.create(dataset)
        state.make_durable()
        return dataset, True
    if dataset.task is not task:
        raise Conflict("dataset_exists", f"dataset {name!r} exists with task {dataset.task.value!r}")
    if checked is not None:
        held = state.datasets.fix_labels(dataset, checked) if dataset.labels is None else dataset.labels
        if [StoredLabel.of(label).text for label in held] != [
            StoredLabel.of(label).text for label in checked
        ]:
            raise Conflict("dataset_exists", f"dataset {name!r} exists with other labels")
    if description is not None:
        state.datasets.describe(dataset, description)
    state.samples.create(dataset)  # a crash may have come between the two halves of its creation
    state.make_durable()
    return state.datasets.get(name), False


def summary(state: State, dataset: Dataset) -> DatasetSummary:
    splits: Counter[str] = Counter()
    labels: Counter[StoredLabel | None] = Counter()
    for row in state.samples.counts(dataset):
        splits[row["split"]] += row["count_all"]
        label = None if row["label"] is None else StoredLabel(row["label"], row["label_number"])
        labels[label] += row["count_all"]
    current = [version for version in state.sets.versions(dataset) if version.version == dataset.set_version]
    return DatasetSummary(
        dataset=dataset,
        samples=sum(splits.values()),
        splits=dict(splits),
        labels=[(None if label is None else label.value(), labels[label]) for label in _sorted(labels)],
        sets=current[0] if current else None,
        lineage=None if dataset.lineage is None else state.datasets.lineage(dataset, dataset.lineage),
    )


def delete_dataset(state: State, dataset: Dataset) -> None:
    """Deletes the dataset with all that belongs to it; a job that runs on it is cancelled."""
    job_ids = state.jobs.unfinished_of(dataset.uid)
    for job_id in job_ids:
        state.jobs.cancel(job_id)
    with state.datasets.writing(dataset):
        state.datasets.forget(dataset)
        state.samples.drop(dataset)
    state.make_durable()


def remove_job_files(data_url: str, job_id: str) -> None:
    ArtifactStore(data_url, job_id).remove_all()


def train_counts(state: State, dataset: Dataset) -> dict[str, int]:
    """Labelled train samples by canonical label."""
    counts: Counter[str] = Counter()
    for row in state.samples.counts(dataset):
        if row["split"] == "train" and row["label"] is not None:
            counts[row["label"]] += row["count_all"]
    return dict(counts)


def find_sample(state: State, dataset: Dataset, sample_id: str) -> dict[str, Any]:
    """A stored sample's row.

    Raises:
        NotFound: there is none of that id.
    """
    entry = state.ids.find(dataset, sample_id)
    row = None if entry is None else state.samples.by_ordinals(dataset, [entry.ordinal]).get(entry.ordinal)
    if row is None:
        raise NotFound("unknown_sample", f"dataset {dataset.name!r} has no sample {sample_id!r}")
    return row


def _check_labels(task: Task, labels: tuple[Label, ...]) -> tuple[Label, ...]:
    try:
        stored = [StoredLabel.of(label) for label in labels]
    except ValueError as error:
        raise Invalid("invalid_label", str(error)) from error
    if len({one.text for one in stored}) != len(stored):
        raise Invalid("invalid_label", "the labels name the same class twice")
    if task is Task.RELEVANCE and not all(one.number and float(one.text) >= 0 for one in stored):
        raise Invalid("invalid_label", "labels of a relevance dataset are numbers, 0 or more")
    return labels


def _sorted(labels: Counter[StoredLabel | None]) -> list[StoredLabel | None]:
    return sorted(labels, key=lambda label: (label is None, label is not None and label.order_key()))
