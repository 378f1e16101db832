"""Datasets: create, describe, delete."""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass
from typing import Any

from app.contracts import Dataset, JobState, Label, Lineage, SetVersion, Task, now
from app.contracts.dataset_settings import DatasetSettings
from app.errors import Conflict, Invalid, NotFound
from app.ingest.rows import MAX_LABEL_CHARS, known_labels
from app.services.audit import audit_job_end
from app.services.jobs_left import clean_up_ended
from app.settings import Settings
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
    state: State,
    name: str,
    task: Task,
    labels: tuple[Label, ...] | None = None,
    description: str | None = None,
    settings: DatasetSettings | None = None,
) -> tuple[Dataset, bool]:
    """The dataset of that name, and whether it was made now.

    Raises:
        Conflict: it exists with another task or other labels, or with samples of labels that are left out.
    """
    checked = None if labels is None else _check_labels(task, labels)
    since = state.durability.incarnation()
    if state.datasets.find(name) is None:
        made = _make(state, name, task, checked, description, settings or DatasetSettings())
        if made is not None:
            return made, True
    dataset = state.datasets.get(name)
    if dataset.task is not task:
        raise Conflict("dataset_exists", f"dataset {name!r} exists with task {dataset.task.value!r}")
    if checked is not None:
        fixed = _fix_labels(state, dataset, checked) if dataset.labels is None else dataset.labels
        if _texts(fixed) != _texts(checked):
            raise Conflict("dataset_exists", f"dataset {name!r} exists with other labels")
    with state.datasets.writing(dataset):
        if description is not None:
            state.datasets.describe(dataset, description)
        if settings is not None:
            held = state.datasets.get(name).settings  # another request may have changed others of them
            state.datasets.save_settings(dataset, held.changed(settings))
        state.archive.save_manifest(dataset)
    state.make_durable(since=since)
    return state.datasets.get(name), False


def _make(
    state: State,
    name: str,
    task: Task,
    labels: tuple[Label, ...] | None,
    description: str | None,
    settings: DatasetSettings,
) -> Dataset | None:
    """A new dataset; None if somebody else was quicker. Its table is there before anyone knows its name."""
    dataset = Dataset(
        uid=secrets.token_hex(6),
        name=name,
        task=task,
        labels=labels,
        description=description,
        settings=settings,
        created_at=now(),
    )
    state.samples.create(dataset)
    with state.datasets.writing(dataset):
        if not state.durably(lambda: state.datasets.register(dataset)):
            state.samples.drop(dataset)
            return None
        state.archive.save_manifest(dataset)
    return dataset


def _fix_labels(state: State, dataset: Dataset, labels: tuple[Label, ...]) -> tuple[Label, ...]:
    """Fixes labels that come after samples did; they must name every label that is in use.

    Raises:
        Conflict: a sample would be left without a class.
    """
    with state.datasets.writing(dataset):
        in_use = {row["label"] for row in state.samples.counts(dataset) if row["label"] is not None}
        left_out = sorted(in_use - set(_texts(labels)))
        if left_out:
            raise Conflict(
                "unknown_label",
                f"samples of {dataset.name!r} have labels that are not listed: {', '.join(left_out[:5])}",
                remedy="Name every label that is in use, or send those samples again with another one.",
            )
        fixed = state.datasets.fix_labels(dataset, labels)
        state.archive.save_manifest(dataset)
        return fixed


def _texts(labels: tuple[Label, ...]) -> list[str]:
    return [StoredLabel.of(label).text for label in labels]


def summary(state: State, dataset: Dataset) -> DatasetSummary:
    splits: Counter[str] = Counter()
    labels: Counter[str | None] = Counter()
    sent: dict[str, StoredLabel] = {}
    for row in state.samples.counts(dataset):
        splits[row["split"]] += row["count_all"]
        labels[row["label"]] += row["count_all"]
        if row["label"] is not None and (row["label_number"] or row["label"] not in sent):
            sent[row["label"]] = StoredLabel(row["label"], row["label_number"])
    current = [version for version in state.sets.versions(dataset) if version.version == dataset.set_version]
    return DatasetSummary(
        dataset=dataset,
        samples=sum(splits.values()),
        splits=dict(splits),
        labels=_shown_counts(labels, sent | (known_labels(dataset) or {})),
        sets=current[0] if current else None,
        lineage=None if dataset.lineage is None else state.datasets.lineage(dataset, dataset.lineage),
    )


def delete_dataset(state: State, settings: Settings, dataset: Dataset) -> None:
    """Deletes the dataset with all that belongs to it; a job that runs on it is cancelled."""
    job_ids = state.jobs.unfinished_of(dataset.uid)
    ended = [job_id for job_id in job_ids if state.jobs.cancel(job_id) is JobState.QUEUED]
    with state.datasets.writing(dataset):
        # First for good out of the registry: rows that are gone must not come back with a lost tail.
        state.durably(lambda: state.datasets.forget(dataset))
        state.samples.drop(dataset)
        state.reviews.drop(dataset)
        state.events.drop(dataset)
        state.responses.drop(dataset.uid)
        state.results.drop(dataset.uid)
        state.archive.drop(dataset.name, dataset.uid)
    for job_id in ended:
        audit_job_end(state, job_id)
    for job_id in job_ids:
        clean_up_ended(state, settings, job_id)


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
    if not all(0 < len(one.text) <= MAX_LABEL_CHARS for one in stored):
        raise Invalid("invalid_label", f"a label has 1 to {MAX_LABEL_CHARS} characters")
    if len({one.text for one in stored}) != len(stored):
        raise Invalid("invalid_label", "the labels name the same class twice")
    if task is Task.RELEVANCE and not all(one.number and float(one.text) >= 0 for one in stored):
        raise Invalid("invalid_label", "labels of a relevance dataset are numbers, 0 or more")
    return labels


def _shown_counts(
    counts: Counter[str | None], shown: dict[str, StoredLabel]
) -> list[tuple[Label | None, int]]:
    """Counts by class, whether it was sent as 1 or as "1"; those without a label last."""
    classes = sorted((shown[text] for text in counts if text is not None), key=StoredLabel.order_key)
    unlabelled: list[tuple[Label | None, int]] = [(None, counts[None])] if counts[None] else []
    return [(one.value(), counts[one.text]) for one in classes] + unlabelled
