"""A scored dataset for the API benchmark, written by the stores' own write path; no model is needed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from app.contracts import Dataset, JobKind, JobState, Lineage, Progress, SetName, SetVersion, Task, now
from app.services.datasets import put_dataset
from app.store.layout import SHARD_RECORDS
from app.store.records import Ledger, Visits, empty_records, merge_visits
from app.store.scores import shard_count
from app.store.sets import Placement
from app.store.state import State

NAME = "bench"
LINEAGE = "lin_bench"
_IDS_A_CALL = 5_000


def sample_id(number: int) -> str:
    """20 characters."""
    return f"sample-{number:013}"


def fill(state: State, samples: int) -> Dataset:
    """`samples` samples with three visits each: half of them core, 0.4 edge, 0.1 noise."""
    dataset, _ = put_dataset(state, NAME, Task.CLASSIFICATION, None, None)
    for numbers in _calls(samples):
        ids = [sample_id(number) for number in numbers]
        entries = state.ids.assign(dataset, ids)
        stored = [entry._replace(generation=1, content=1 + entry.ordinal) for entry in entries]
        state.ids.commit(dataset, list(zip(ids, stored, strict=True)), [])
    score(state, dataset, samples)
    return dataset


def score(state: State, dataset: Dataset, samples: int, generation: int = 1) -> None:
    """Scores and sets of ordinals 0 to `samples` - 1, all of that generation."""
    job, _ = state.jobs.create(dataset, JobKind.SCORE, "demo", {})
    claim = state.jobs.claim("bench", 600.0)
    assert claim is not None
    state.datasets.take_fence(dataset.uid, claim.token)
    lineage = Lineage(id=LINEAGE, model="demo", revision="r1", trainable="all", created_at=now(), runs=1)
    state.datasets.save_lineage(dataset, lineage, claim.token)
    state.datasets.show_lineage_if_first(dataset, lineage)
    norms = np.random.default_rng(0).lognormal(size=(3, samples))
    _write_records(state, dataset, norms, generation, claim.token)
    _publish(state, dataset, norms.mean(0), generation, job.id, claim.token)
    state.jobs.end(claim, JobState.SUCCEEDED, progress=Progress(phase="done", fraction=1.0))


def _calls(samples: int) -> Iterator[range]:
    for start in range(0, samples, _IDS_A_CALL):
        yield range(start, min(start + _IDS_A_CALL, samples))


def _write_records(state: State, dataset: Dataset, norms: np.ndarray, generation: int, token: int) -> None:
    samples = norms.shape[1]
    records = empty_records(shard_count(samples) * SHARD_RECORDS)
    ordinals = np.arange(samples)
    for norm in norms:
        visits = Visits(
            ordinals=ordinals,
            generations=np.full(samples, generation, dtype=np.uint32),
            grad_norm=norm,
            loss=norm / 2,
            el2n=norm / 4,
            margin=-norm,
            confidence=1 / (1 + norm),
            correct=norm < 1,
            alignment=np.tanh(norm - 1),
        )
        merge_visits(records, ordinals, visits, at=1_700_000_000)
    shards = np.split(records, shard_count(samples))
    state.scores.write_shards(dataset.uid, LINEAGE, Ledger(token, 1, 1), dict(enumerate(shards)))


def _publish(
    state: State, dataset: Dataset, importance: np.ndarray, generation: int, job_id: str, token: int
) -> None:
    samples = len(importance)
    order = np.argsort(-importance, kind="stable")
    sets = np.full(samples, 2, dtype=np.uint8)
    sets[: samples // 2] = 1
    sets[samples - samples // 10 :] = 3
    version = SetVersion(
        version=1,
        policy="seed",
        params={"core_fraction": 0.5, "noise_fraction": 0.1},
        job=job_id,
        lineage=LINEAGE,
        created_at=now(),
        sizes={name.value: int((sets == code).sum()) for code, name in enumerate(SetName, start=1)},
    )
    placement = Placement(
        ordinals=order,
        generations=np.full(samples, generation, dtype=np.uint32),
        importance=importance[order],
        noise=np.linspace(0, 1, samples),
        sets=sets,
        reasons=np.choose(sets - 1, [1, 4, 5]).astype(np.uint8),
        suggested=np.full(samples, -1, dtype=np.int32),
    )
    state.sets.publish(dataset.uid, version, placement, token=token)
