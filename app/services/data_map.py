"""The data map: where every scored sample lies between sure and unsure, in columns that a page can draw."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.contracts import CODE_BY_SET, UNSCORED, Dataset, SetVersion, Split
from app.services.map_body import (
    LABELS_AT_MOST,
    NO_LABEL,
    NO_NOISE,
    NOISE_STEPS,
    STEPS,
    VARIABILITY_AT_MOST,
    Drawn,
)
from app.store.layout import SHARD_RECORDS
from app.store.records import importance
from app.store.samples import StoredLabel
from app.store.scores import shard_count
from app.store.state import State

_COLUMNS = ["ordinal", "generation", "label", "label_number", "split"]


@dataclass(frozen=True)
class MapSource:
    """What a map is drawn from, and a mark that changes with it."""

    lineage: str | None
    version: SetVersion | None
    mark: str


def map_source(state: State, dataset: Dataset, version: int | None) -> MapSource:
    """Args: version: whose sets and whose lineage's scores are drawn; None: the current ones.

    Raises:
        NotFound: the version is not kept.
    """
    held = state.sets.version(dataset, version) if version or dataset.set_version else None
    lineage = held.lineage if version and held else dataset.lineage
    digest = blake2b(digest_size=12)
    numbers = (
        0 if held is None else held.version,
        state.samples.version(dataset),
        state.reviews.version(dataset),
    )
    digest.update(repr((dataset.uid, dataset.labels, lineage, numbers)).encode())
    if lineage is not None:
        digest.update(state.scores.mark(dataset.uid, lineage, state.datasets.next_ordinal(dataset)))
    return MapSource(lineage, held, digest.hexdigest())


@dataclass
class _ByOrdinal:
    """What is drawn of each ordinal 0 … n − 1, and the generation that it belongs to."""

    ordinals: int
    columns: dict[str, NDArray[np.generic]] = field(init=False)
    generations: NDArray[np.uint16] = field(init=False)
    scored: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        count = self.ordinals
        self.columns = {
            "confidence": np.zeros(count, np.uint16),
            "variability": np.zeros(count, np.uint16),
            "importance": np.zeros(count, np.float32),
            "noise_probability": np.full(count, NO_NOISE, np.uint16),
            "set": np.full(count, CODE_BY_SET[UNSCORED], np.uint8),
            "reason": np.zeros(count, np.uint8),
            "label": np.full(count, NO_LABEL, np.uint16),
            "split": np.zeros(count, np.uint8),
        }
        self.generations = np.zeros(count, np.uint16)
        self.scored = np.zeros(count, np.bool_)


def draw(state: State, dataset: Dataset, source: MapSource, limit: int) -> Drawn:
    """The scored samples, void ones left out; of more than `limit`, as many of them by a fixed rule.

    Scores are read before samples: what changes meanwhile has another generation by then, and is left out.
    """
    held = _ByOrdinal(state.datasets.next_ordinal(dataset))
    if source.lineage is not None:
        _read_scores(state, dataset, source.lineage, held)
    if source.version is not None:
        _read_sets(state, dataset, source.version.version, held)
    labels = _read_samples(state, dataset, held)
    ordinals = np.flatnonzero(held.scored)
    total = len(ordinals)
    if total > limit:
        ordinals = np.sort(ordinals[np.argpartition(_shuffled(ordinals), limit)[:limit]])
    columns: dict[str, NDArray[np.generic]] = {"ordinal": ordinals.astype(np.uint32)}
    columns |= {name: values[ordinals] for name, values in held.columns.items()}
    generations = held.generations[ordinals].astype(np.uint32)
    columns["reviewed"] = state.reviews.in_force(dataset).of(ordinals, generations)
    return Drawn(columns, labels, total)


def _read_scores(state: State, dataset: Dataset, lineage: str, held: _ByOrdinal) -> None:
    columns = held.columns
    shards = range(shard_count(held.ordinals))
    for number, _, all_records in state.scores.each_shard(dataset.uid, lineage, shards):
        first = number * SHARD_RECORDS
        records = all_records[: held.ordinals - first]
        at = slice(first, first + len(records))
        held.scored[at] = records["visits"] > 0
        held.generations[at] = records["generation"]
        columns["importance"][at] = np.nan_to_num(importance(records))
        columns["confidence"][at] = np.rint(np.clip(records["confidence"], 0, 1) * STEPS)
        spread = np.clip(records["variability"], 0, VARIABILITY_AT_MOST)
        columns["variability"][at] = np.rint(spread * (STEPS / VARIABILITY_AT_MOST))


def _read_sets(state: State, dataset: Dataset, version: int, held: _ByOrdinal) -> None:
    """A cell of another generation than the score's is void."""
    columns = held.columns
    for first, cells in state.sets.column_chunks(dataset, version, 0, held.ordinals):
        at = slice(first, first + len(cells))
        valid = cells["generation"] == held.generations[at]
        columns["set"][at] = np.where(valid, cells["set"], CODE_BY_SET[UNSCORED])
        columns["reason"][at] = np.where(valid, cells["reason"], 0)
        noise = cells["noise"].astype(np.float32)
        known = valid & ~np.isnan(noise) & (cells["set"] != CODE_BY_SET[UNSCORED])
        steps = np.rint(np.clip(np.nan_to_num(noise), 0, 1) * NOISE_STEPS)
        columns["noise_probability"][at] = np.where(known, steps, NO_NOISE)


def _read_samples(state: State, dataset: Dataset, held: _ByOrdinal) -> list[StoredLabel]:
    """Labels and splits; what is not the scored content any more counts as unscored. Answers the labels."""
    labels = {one.text: one for one in map(StoredLabel.of, dataset.labels or ())}
    present = np.zeros(held.ordinals, np.bool_)
    splits = {split.value: code for code, split in enumerate(Split)}
    for batch in state.samples.batches(dataset, _COLUMNS):
        ordinals = batch["ordinal"].to_numpy()
        inside = ordinals < held.ordinals
        ordinals = ordinals[inside]
        present[ordinals] = held.generations[ordinals] == batch["generation"].to_numpy()[inside]
        held.columns["split"][ordinals] = _coded(batch["split"], splits)[inside]
        _learn_labels(batch, labels)
        places = {text: place for place, text in enumerate(labels) if place < LABELS_AT_MOST}
        held.columns["label"][ordinals] = _coded(batch["label"], places, NO_LABEL)[inside]
    held.scored &= present
    return list(labels.values())[:LABELS_AT_MOST]


def _coded(texts: pa.StringArray, codes: dict[str, int], other: int = 0) -> NDArray[np.uint16]:
    """The code of each text; `other` for null and for texts without one."""
    encoded = texts.dictionary_encode()
    table = np.array([codes.get(text, other) for text in encoded.dictionary.to_pylist()] + [other], np.uint16)
    places: NDArray[np.int32] = encoded.indices.fill_null(len(table) - 1).to_numpy()
    return table[places]


def _learn_labels(batch: pa.RecordBatch, labels: dict[str, StoredLabel]) -> None:
    """Labels are open until the first job fixes them: then those that samples have come behind."""
    found = set(batch["label"].dictionary_encode().dictionary.to_pylist()) - labels.keys() - {None}
    if found:
        numbers = dict(zip(batch["label"].to_pylist(), batch["label_number"].to_pylist(), strict=True))
        new = [StoredLabel(text, numbers[text]) for text in found]
        labels.update({one.text: one for one in sorted(new, key=StoredLabel.order_key)})


def _shuffled(ordinals: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A number for each ordinal that looks random and is always the same: the finaliser of splitmix64."""
    mixed = ordinals.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
