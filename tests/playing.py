"""Plays the parts around the stores: a client that sends rows, a fenced worker that needs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np

from app.contracts import (
    Claim,
    Dataset,
    Job,
    JobKind,
    JobState,
    Label,
    Lineage,
    Progress,
    SetVersion,
    Task,
    now,
)
from app.ingest.report import IngestReport
from app.ingest.rows import row_from_json
from app.ingest.writing import Ingest
from app.services.datasets import put_dataset
from app.settings import Settings
from app.store.layout import SHARD_RECORDS
from app.store.records import Ledger, Visits, merge_visits
from app.store.scores import shard_count
from app.store.sets import Placement
from app.store.state import State

Row = Mapping[str, Any]
IMPORTANT, EASY, UNCERTAIN = 1, 5, 4  # stored codes of reasons
LINEAGE = "lin_played"


def visits(ordinals: Sequence[int], generations: Sequence[int], norms: Sequence[float]) -> Visits:
    """One visit each, whose other signals are made from the norm."""
    norm = np.asarray(norms, dtype=np.float64)
    return Visits(
        ordinals=np.asarray(ordinals, dtype=np.int64),
        generations=np.asarray(generations, dtype=np.uint32),
        grad_norm=norm,
        loss=norm / 2,
        el2n=norm / 4,
        margin=-norm,
        confidence=1 / (1 + norm),
        correct=norm < 1,
        alignment=np.full(len(norm), np.nan),
    )


class Player:
    def __init__(self, state: State, settings: Settings) -> None:
        self.state = state
        self.settings = settings

    # -- a client --------------------------------------------------------------------------------------
    def dataset(
        self,
        rows: Sequence[Row] = (),
        *,
        name: str = "d",
        task: Task = Task.CLASSIFICATION,
        labels: tuple[Label, ...] | None = None,
    ) -> Dataset:
        dataset, _ = put_dataset(self.state, name, task, labels, None)
        if rows:
            self.send(dataset, rows)
        return dataset

    def send(self, dataset: Dataset, rows: Sequence[Row]) -> IngestReport:
        ingest = Ingest(self.state, self.settings, dataset)
        ingest.add([partial(row_from_json, msgspec.json.encode(row)) for row in rows])
        return ingest.report

    def queue(self, name: str = "d") -> Job:
        job, _ = self.state.jobs.create(self.state.datasets.get(name), JobKind.SCORE, "demo", {})
        return job

    # -- a worker --------------------------------------------------------------------------------------
    def claim(self, worker: str = "w", lease_seconds: float = 30.0) -> Claim:
        claim = self.state.jobs.claim(worker, lease_seconds)
        assert claim is not None
        return claim

    def end(self, claim: Claim, state: JobState = JobState.SUCCEEDED) -> None:
        self.state.jobs.end(claim, state, progress=Progress(phase="done", fraction=1.0))

    def score(
        self,
        norms: Mapping[str, Sequence[float]],
        *,
        name: str = "d",
        core_fraction: float = 0.5,
        noise_fraction: float = 0.2,
    ) -> SetVersion:
        """A whole score job: each id is visited once a norm; then the sets, by importance descending."""
        self.queue(name)
        claim = self.claim()
        dataset = self.state.datasets.get(name)
        self.write(dataset, norms, claim.token)
        version = self.publish(dataset, norms, claim, core_fraction, noise_fraction)
        self.end(claim)
        return version

    def write(
        self, dataset: Dataset, norms: Mapping[str, Sequence[float]], token: int, *, run: int = 1
    ) -> None:
        """Takes the fence, merges the visits into the records as they are, and writes the shards."""
        self.state.datasets.take_fence(dataset.uid, token)
        lineage = Lineage(
            id=LINEAGE, model="demo", revision="r1", trainable="all", created_at=now(), runs=run
        )
        self.state.datasets.save_lineage(dataset, lineage, token)
        self.state.datasets.show_lineage_if_first(dataset, lineage)
        total = self.state.datasets.next_ordinal(dataset)
        records = self.state.scores.read_all(dataset.uid, LINEAGE, shard_count(total) * SHARD_RECORDS)
        entries = {sample_id: self.state.ids.find(dataset, sample_id) for sample_id in norms}
        for sample_id, entry in entries.items():
            assert entry is not None
            for norm in norms[sample_id]:
                one = visits([entry.ordinal], [entry.generation], [norm])
                merge_visits(records, one.ordinals, one, at=1_700_000_000)
        shards = {
            number: records[number * SHARD_RECORDS : (number + 1) * SHARD_RECORDS]
            for number in range(shard_count(total))
        }
        self.state.scores.write_shards(dataset.uid, LINEAGE, Ledger(token, run, 1), shards)

    def publish(
        self,
        dataset: Dataset,
        norms: Mapping[str, Sequence[float]],
        claim: Claim,
        core_fraction: float = 0.5,
        noise_fraction: float = 0.2,
    ) -> SetVersion:
        """Highest mean norm core, lowest noise, the rest edge; ties by id."""
        self.state.datasets.take_fence(dataset.uid, claim.token)
        means = {sample_id: float(np.mean(values)) for sample_id, values in norms.items()}
        order = sorted(means, key=lambda sample_id: (-means[sample_id], sample_id))
        core, noise = int(len(order) * core_fraction), int(len(order) * noise_fraction)
        sets = np.full(len(order), 2, dtype=np.uint8)
        sets[:core] = 1
        sets[len(order) - noise :] = 3
        entries = [self.state.ids.find(dataset, sample_id) for sample_id in order]
        versions = self.state.sets.numbers(dataset)
        version = SetVersion(
            version=max(versions, default=0) + 1,
            policy="seed",
            params={"core_fraction": core_fraction, "noise_fraction": noise_fraction},
            job=claim.job.id,
            lineage=LINEAGE,
            created_at=now(),
            sizes={
                name: int((sets == code).sum()) for code, name in ((1, "core"), (2, "edge"), (3, "noise"))
            },
        )
        placement = Placement(
            ordinals=np.array([entry.ordinal for entry in entries if entry], dtype=np.int64),
            generations=np.array([entry.generation for entry in entries if entry], dtype=np.uint32),
            importance=np.array([means[sample_id] for sample_id in order]),
            noise=np.where(sets == 3, 0.7, np.nan),
            sets=sets,
            reasons=np.choose(sets - 1, [IMPORTANT, UNCERTAIN, EASY]).astype(np.uint8),
            suggested=np.full(len(order), -1, dtype=np.int32),
        )
        self.state.archive.of_dataset(dataset).save_version(version, placement, token=claim.token)
        self.state.sets.publish(dataset.uid, version, placement, token=claim.token)
        return version
