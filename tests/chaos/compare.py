"""Every sum and count in Redis against the truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.services.verify import verify
from app.store.state import State
from tests.chaos.clients import Client, Dataset, split_of
from tests.chaos.kinds import SORTING, versions_of, visits_of
from tests.chaos.truth import LABELS

TOLERANCE = 1e-4
"""Relative; the worker adds float32 norms of padded batches, the truth is one sample alone. A visit too many
or too few moves a sum by at least one part in its visits."""
NAMED = 5


@dataclass
class Verdict:
    """pairs: (sample, visit) pairs compared. wrong: those of them that are missing, too many, or of another
    sum. faults: what is wrong, in words."""

    pairs: int = 0
    wrong: int = 0
    faults: list[str] = field(default_factory=list)

    def fault(self, text: str, wrong: int = 0) -> None:
        self.wrong += wrong
        self.faults.append(text)


@dataclass
class _Expected:
    """Of one lineage, by ordinal: (ordinals,) arrays."""

    generations: NDArray[np.int64]
    visits: NDArray[np.int64]
    sums: NDArray[np.float64]


def check_jobs(datasets: list[Dataset], ended: dict[str, dict[str, Any]], state: State) -> Verdict:
    """Every job succeeded, none was made twice, each added to the right lineage and made its sets."""
    verdict = Verdict()
    for dataset in datasets:
        for job_id in dataset.jobs:
            job = ended.get(job_id)
            if not _succeeded(job):
                verdict.fault(f"job {job_id} of {dataset.name}: {job and (job['state'], job['error'])}", 1)
        _check_lineages(dataset, [ended[job_id] for job_id in dataset.jobs if job_id in ended], verdict)
    made = sum(len(dataset.jobs) for dataset in datasets)
    recorded = len(state.jobs.ids_before(None, 100_000))
    if recorded != made:
        verdict.fault(f"{made} jobs were asked for, {recorded} are recorded", 1)
    for dataset in datasets:
        versions = state.sets.versions(state.datasets.get(dataset.name))
        wanted = sum(versions_of(ended[one]) for one in dataset.jobs if _succeeded(ended.get(one)))
        if versions and versions[0].version != wanted:
            verdict.fault(f"{dataset.name}: {wanted} versions made, set version {versions[0].version}", 1)
    return verdict


def check_state(state: State) -> Verdict:
    """What `gradsift verify` finds."""
    return Verdict(faults=[f"verify: {finding}" for finding in verify(state, [], lambda _: None)])


def _check_lineages(dataset: Dataset, jobs: list[dict[str, Any]], verdict: Verdict) -> None:
    """Each job adds to the lineage of the one before it, or begins its own where it was to be fresh."""
    before: str | None = None
    for job in jobs:
        if job["kind"] not in SORTING:
            continue
        lineage = job["lineage"]
        goes_on = before is not None and not job["params"]["fresh"]
        if lineage is None or (lineage == before) != goes_on:
            verdict.fault(f"job {job['id']} of {dataset.name}: lineage {lineage} after {before}", 1)
        before = lineage


def check_sums(
    dataset: Dataset,
    ended: dict[str, dict[str, Any]],
    state: State,
    pool: list[str],
    norms: NDArray[np.float64],
) -> Verdict:
    """The records of each lineage against visits × norm of the content that its jobs read."""
    verdict = Verdict()
    held = state.datasets.get(dataset.name)
    position = {text: row for row, text in enumerate(pool)}
    jobs = [ended[job_id] for job_id in dataset.jobs if _succeeded(ended.get(job_id))]
    for lineage in dict.fromkeys(job["lineage"] for job in jobs):
        expected = _expected(
            [job for job in jobs if job["lineage"] == lineage],
            lambda version: state.samples.table(held, version).to_table(filter="split = 'train'"),
            position,
            norms,
        )
        count = len(expected.visits)
        records = state.scores.read_all(held.uid, lineage, count)
        verdict.pairs += int(expected.visits.sum())
        visits = records["visits"].astype(np.int64)
        sums = records["grad_norm_sum"].astype(np.float64)
        off = np.abs(visits - expected.visits)
        same = (off == 0) & (records["generation"].astype(np.int64) == expected.generations)
        close = np.abs(sums - expected.sums) <= TOLERANCE * np.maximum(expected.sums, 1e-3)
        bad = np.flatnonzero(~(same & close) & ((expected.visits > 0) | (visits > 0)))
        for ordinal in bad[:NAMED]:
            verdict.fault(
                f"{dataset.name} {lineage} ordinal {ordinal}: {visits[ordinal]} visits for "
                f"{expected.visits[ordinal]}, sum {sums[ordinal]:.6f} for {expected.sums[ordinal]:.6f}"
            )
        verdict.wrong += int(np.where(off[bad] > 0, off[bad], expected.visits[bad]).sum())
    return verdict


def _expected(
    jobs: list[dict[str, Any]], read: Any, position: dict[str, int], norms: NDArray[np.float64]
) -> _Expected:
    """What the jobs of a lineage add up to: content that changed begins anew."""
    tables = [read(job["result"]["data_version"]) for job in jobs]
    count = max(int(np.max(table["ordinal"].to_numpy())) for table in tables) + 1
    expected = _Expected(np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count))
    for job, table in zip(jobs, tables, strict=True):
        ordinals, generations = table["ordinal"].to_numpy(), table["generation"].to_numpy()
        rows = np.array([position[text] for text in table["text"].to_pylist()])
        labels = np.array([int(label) for label in table["label"].to_pylist()])
        assert labels.max() < LABELS
        anew = ordinals[expected.generations[ordinals] != generations]
        expected.visits[anew], expected.sums[anew] = 0, 0.0
        expected.generations[ordinals] = generations
        visits = visits_of(job)
        expected.visits[ordinals] += visits
        expected.sums[ordinals] += visits * norms[rows, labels]
    return expected


def check_contents(dataset: Dataset, state: State, client: Client, pool: list[str]) -> Verdict:
    """What was acknowledged is there, once; what is scored has its place in a set."""
    verdict = Verdict()
    held = state.datasets.get(dataset.name)
    table = state.samples.table(held).to_table(columns=["id", "text", "label", "split"])
    stored = [(row["id"], row["text"], row["label"], row["split"]) for row in table.to_pylist()]
    wanted = {
        (sample, pool[text], str(label), split_of(sample))
        for sample, (text, label) in dataset.contents.items()
    }
    if len(stored) != len(wanted) or set(stored) != wanted:
        missing = sorted(wanted - set(stored))[:NAMED]
        verdict.fault(
            f"{dataset.name}: {len(wanted)} samples acknowledged, {len(stored)} stored, {missing}", 1
        )
    ids = sorted(dataset.contents)
    for sample, score in zip(ids, client.scores(dataset.name, ids), strict=True):
        if score is None:
            verdict.fault(f"{dataset.name}: {sample} is unknown", 1)
        elif (score["visits"] > 0) != (score["set"] != "unscored"):
            verdict.fault(f"{dataset.name}: {sample} has {score['visits']} visits, set {score['set']}", 1)
    return verdict


def check_same(client: Client, stormy: Dataset, calm: Dataset) -> Verdict:
    """A dataset whose training moved, against the same jobs undisturbed: every number to the bit."""
    verdict = Verdict()
    ids = sorted(stormy.contents)
    pairs = zip(client.scores(stormy.name, ids), client.scores(calm.name, ids), strict=True)
    for sample, (one, other) in zip(ids, pairs, strict=True):
        if one is None or other is None:
            verdict.fault(f"{stormy.name}: {sample} is unknown", 1)
            continue
        verdict.pairs += other["visits"]
        left, right = ({k: v for k, v in score.items() if k not in _OF_THE_RUN} for score in (one, other))
        if left != right:
            verdict.fault(f"{stormy.name}: {sample}: {left} for {right}", other["visits"])
    return verdict


_OF_THE_RUN = ("lineage", "updated_at")
_OF_THE_JOB = {"lineage", "data_version", "provenance", "files", "seconds"}


def check_results(stormy: Dataset, calm: Dataset, ended: dict[str, dict[str, Any]]) -> Verdict:
    """What the jobs of such a dataset came to: every figure of their results to the bit."""
    verdict = Verdict()
    for one, other in zip(stormy.jobs, calm.jobs, strict=True):
        if not _succeeded(ended.get(one)) or not _succeeded(ended.get(other)):
            verdict.fault(f"{stormy.name}: {one} and {other} have not both succeeded", 1)
            continue
        left, right = (ended[job_id]["result"] for job_id in (one, other))
        for name in sorted({*left, *right} - _OF_THE_JOB):
            if _figures(left.get(name)) != _figures(right.get(name)):
                verdict.fault(
                    f"{stormy.name}: {one} and {other}: {name}: {left.get(name)}, {right.get(name)}", 1
                )
    return verdict


def _figures(value: Any) -> Any:
    """Without what a clock said."""
    if isinstance(value, dict):
        return {name: _figures(held) for name, held in value.items() if name != "seconds"}
    return [_figures(held) for held in value] if isinstance(value, list) else value


def _succeeded(job: dict[str, Any] | None) -> bool:
    return job is not None and job["state"] == "succeeded"
