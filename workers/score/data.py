"""The samples of a job: one version of the sample store, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.contracts import Dataset, Label, Task
from app.contracts.params import GrowParams, ScoreParams, SortingParams, TrainingParams, TrainParams
from app.errors import JobFailed
from app.store.samples import StoredLabel
from app.store.state import State
from models.splitting import stratified_holdout
from workers.score.exclusion import NOTHING, Exclusion

COLUMNS = ("ordinal", "generation", "id", "text", "text_pair", "label", "label_number", "group", "split")


@dataclass(frozen=True)
class Rows:
    """n labelled samples: arrays and lists of equal length."""

    ordinals: NDArray[np.int64]
    generations: NDArray[np.uint32]
    ids: list[str]
    texts: list[str]
    text_pairs: list[str | None] | None
    labels: NDArray[np.int64]
    groups: list[str | None]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def queries(self) -> NDArray[np.int64]:
        """(n,) codes of the groups; a sample without one is a query of its own."""
        codes: dict[str | int, int] = {}
        named = (index if group is None else group for index, group in enumerate(self.groups))
        return np.array([codes.setdefault(name, len(codes)) for name in named], dtype=np.int64)

    def take(self, positions: NDArray[np.int64]) -> Rows:
        chosen = positions.tolist()
        return Rows(
            self.ordinals[positions],
            self.generations[positions],
            [self.ids[i] for i in chosen],
            [self.texts[i] for i in chosen],
            None if self.text_pairs is None else [self.text_pairs[i] for i in chosen],
            self.labels[positions],
            [self.groups[i] for i in chosen],
        )


@dataclass(frozen=True)
class JobData:
    """What a job trains on. `validation_source`: "client", "cut" from the train split, or "none". `excluded`:
    what the job's result says of the train samples that flags leave out."""

    train: Rows
    validation: Rows | None
    validation_source: str
    classes: tuple[Label, ...]
    skipped_unlabelled: int
    test: Rows | None = None
    exclusion: Exclusion = NOTHING
    excluded: dict[str, Any] | None = None

    @property
    def grades(self) -> tuple[float, ...]:
        """The labels where they are all numbers, else none."""
        numbers = tuple(float(label) for label in self.classes if not isinstance(label, str))
        return numbers if len(numbers) == len(self.classes) else ()


def load_job_data(
    state: State, dataset: Dataset, version: int, params: TrainingParams, exclusion: Exclusion = NOTHING
) -> JobData:
    """Reads the labelled rows of a version, and fixes the labels if none are fixed.

    Rows come in the order of their ordinals, so that the same version gives the same batches whatever the
    storage did to its files. Train samples that are excluded are as if they were not there; validation and
    test split are whole, so that what is measured does not depend on what is excluded.

    Raises:
        JobFailed: there is nothing to train on, or only one label.
    """
    table = _table(state, dataset, version)
    classes = dataset.labels or _fix_labels(state, dataset, _labels_of(table))
    index_of = {StoredLabel.of(label).text: index for index, label in enumerate(classes)}
    labels = np.array([index_of.get(text, -1) for text in table["label"].to_pylist()], dtype=np.int64)
    splits = np.array(table["split"].to_pylist(), dtype=object)
    in_train = splits == "train"
    labelled = _rows(table, labels, np.flatnonzero(in_train & (labels >= 0)))
    left_out = exclusion.leaves_out(labelled.ordinals, labelled.generations)
    excluded = exclusion.told(labelled.ordinals, labelled.generations)
    train = labelled.take(np.flatnonzero(~left_out)) if left_out.any() else labelled
    _require_classes(train, dataset.name, excluded=int(left_out.sum()))
    sent = _rows(table, labels, np.flatnonzero((splits == "validation") & (labels >= 0)))
    in_test = (splits == "test") & (labels >= 0)
    test = _rows(table, labels, np.flatnonzero(in_test)) if in_test.any() else None
    skipped = int((in_train & (labels < 0)).sum())
    if len(sent):
        return JobData(train, sent, "client", classes, skipped, test, exclusion, excluded)
    held_out = _held_out(train, params, by_group=dataset.task is Task.RELEVANCE)
    if not held_out.any():
        return JobData(train, None, "none", classes, skipped, test, exclusion, excluded)
    cut, left = train.take(np.flatnonzero(held_out)), train.take(np.flatnonzero(~held_out))
    return JobData(left, cut, "cut", classes, skipped, test, exclusion, excluded)


def load_train_texts(
    state: State, dataset: Dataset, version: int, *, held_out: Rows | None, exclusion: Exclusion = NOTHING
) -> Rows:
    """The rows of the train split, labelled or not, but those that are held out of it or excluded; labels are
    all -1."""
    table = _table(state, dataset, version)
    wanted = np.array(table["split"].to_pylist(), dtype=object) == "train"
    ordinals = table["ordinal"].to_numpy()
    wanted &= ~exclusion.leaves_out(ordinals, table["generation"].to_numpy().astype(np.uint32))
    if held_out is not None:
        wanted &= ~np.isin(ordinals, held_out.ordinals)
    return _rows(table, np.full(len(table), -1, dtype=np.int64), np.flatnonzero(wanted))


def require_what_the_policy_needs(params: SortingParams, data: JobData) -> None:
    """Raises JobFailed `no_validation`: there is none, or none that the client sent and may be trusted."""
    if isinstance(params, GrowParams) and data.validation is None:
        raise JobFailed(
            "no_validation",
            "a core grows by what it does for a validation split, and there is none",
            remedy="Send samples with split validation, or set validation_fraction above 0.",
        )
    if params.trusted_validation and data.validation_source != "client":
        raise JobFailed(
            "no_validation",
            "trusted_validation is set, but the dataset has no labelled samples in its validation split",
            remedy="Send some with split validation, or leave trusted_validation out.",
        )


def _table(state: State, dataset: Dataset, version: int) -> pa.Table:
    return pa.Table.from_batches(
        list(state.samples.scan(dataset, version, COLUMNS)),
        schema=state.samples.table(dataset, version).to_table(columns=list(COLUMNS), limit=0).schema,
    ).sort_by("ordinal")


def _fix_labels(state: State, dataset: Dataset, labels: tuple[Label, ...]) -> tuple[Label, ...]:
    with state.datasets.writing(dataset):
        fixed = state.durably(lambda: state.datasets.fix_labels(dataset, labels))
        state.archive.save_manifest(dataset)
    return fixed


def _labels_of(table: pa.Table) -> tuple[Label, ...]:
    """Every label in use, numbers by value and then strings by code point."""
    pairs = zip(table["label"].to_pylist(), table["label_number"].to_pylist(), strict=True)
    by_text: dict[str, StoredLabel] = {}
    for text, number in pairs:
        if text is not None:
            by_text.setdefault(text, StoredLabel(text, number))
    return tuple(label.value() for label in sorted(by_text.values(), key=StoredLabel.order_key))


def _rows(table: pa.Table, labels: NDArray[np.int64], positions: NDArray[np.int64]) -> Rows:
    chosen = table.take(pa.array(positions))
    pairs: list[str | None] = chosen["text_pair"].to_pylist()
    return Rows(
        ordinals=chosen["ordinal"].to_numpy().astype(np.int64),
        generations=chosen["generation"].to_numpy().astype(np.uint32),
        ids=chosen["id"].to_pylist(),
        texts=chosen["text"].to_pylist(),
        text_pairs=pairs if any(pair is not None for pair in pairs) else None,
        labels=labels[positions],
        groups=chosen["group"].to_pylist(),
    )


def _require_classes(train: Rows, dataset: str, *, excluded: int) -> None:
    but = f", besides {excluded} that exclude_flags leaves out" if excluded else ""
    if not len(train):
        raise JobFailed("dataset_empty", f"dataset {dataset!r} has no labelled train samples{but}")
    if len(np.unique(train.labels)) < 2:
        detail = f"every labelled train sample of {dataset!r} has the same label{but}"
        raise JobFailed("too_few_classes", detail)


def _held_out(train: Rows, params: TrainingParams, *, by_group: bool) -> NDArray[np.bool_]:
    """Nothing, unless it is asked for or needed: every train sample is to be visited."""
    fraction = params.validation_fraction
    if fraction is None:
        fraction = 0.1 if _needs_validation(params) else 0.0
    if fraction == 0.0:
        return np.zeros(len(train), dtype=np.bool_)
    return stratified_holdout(
        train.labels, fraction, params.seed, _whole_groups(train.groups) if by_group else None
    )


def _needs_validation(params: TrainingParams) -> bool:
    if isinstance(params, TrainParams) and params.load_best_model_at_end:
        return True
    stops = isinstance(params, ScoreParams | TrainParams) and params.early_stopping_patience is not None
    return stops or isinstance(params, GrowParams)


def _whole_groups(groups: Sequence[str | None]) -> list[str]:
    """A sample without a group is a group of its own."""
    return [f"alone:{i}" if group is None else f"group:{group}" for i, group in enumerate(groups)]
