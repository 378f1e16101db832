"""A split job from claim to result.

The rule is made from one version of the samples, which is the same for every attempt, and saved; from then on
samples that come in without a split follow it. Then the stored ones are moved, batch by batch. An attempt
that goes over what another one has moved finds it where it should be.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from app.contracts import Dataset, Progress
from app.contracts.params import SplitParams
from app.contracts.splits import SplitBy, SplitRule
from app.ingest.placing import move_to_splits
from app.ingest.splitting import Placing
from app.ingest.survey import PLACING_COLUMNS, Survey
from app.settings import Settings
from app.store.state import State
from workers.ground import Ground
from workers.lease import JobLease

ORDINALS_A_BATCH = 5_000
READING = 0.3
"""The share of a job that making the rule takes, for the progress."""


class SplitJob(Ground):
    def __init__(self, state: State, settings: Settings, lease: JobLease) -> None:
        super().__init__(state, settings, lease)
        self._params = SplitParams.model_validate(self.claim.job.params)

    def run(self) -> dict[str, Any]:
        """Raises Conflict `splits_in_use` where a job that trains came first; JobFailed as `Survey.rule`."""
        dataset = self.dataset()
        self.state.splits.refuse_used(dataset)
        survey = self._surveyed(dataset)
        rule, followed = survey.rule(self.claim.job.id, self.claim.job.created_at)
        self.when_free(lambda: self._save(dataset, rule))
        self._move(dataset, Placing(rule, followed))
        return self._result(dataset, survey, rule)

    def _surveyed(self, dataset: Dataset) -> Survey:
        version = self.state.samples.pin(dataset, self.claim.job.id)
        survey, done = Survey(self._params), 0
        total = max(1, self.state.datasets.next_ordinal(dataset))
        for batch in self.state.samples.scan(dataset, version, PLACING_COLUMNS):
            survey.add(batch)
            done += batch.num_rows
            self._tell("reading", done, total, READING * min(1.0, done / total))
        return survey

    def _save(self, dataset: Dataset, rule: SplitRule) -> None:
        since = self.state.durability.incarnation()
        with self.state.datasets.writing(dataset):
            self.state.splits.save_rule(dataset, rule)
            self.state.archive.save_manifest(dataset)
        self.state.make_durable(since=since)

    def _move(self, dataset: Dataset, placing: Placing) -> None:
        """Also what comes in meanwhile; then says that the rule is applied."""
        first = 0
        while first < (total := self.state.datasets.next_ordinal(dataset)):
            self._tell("moving", first, total, READING + (1 - READING) * first / total)
            stop = min(first + ORDINALS_A_BATCH, total)
            self.when_free(partial(move_to_splits, self.state, dataset, placing, first, stop))
            first = stop
        self._tell("moving", first, first, 1.0)
        applied = placing.rule.model_copy(update={"applied": True})
        self.when_free(lambda: self._save(dataset, applied))

    def _tell(self, phase: str, step: int, total: int, fraction: float) -> None:
        self.lease.step(Progress(phase=phase, step=step, total_steps=total, fraction=fraction))

    def _result(self, dataset: Dataset, survey: Survey, rule: SplitRule) -> dict[str, Any]:
        splits = {"train": 0, "validation": 0, "test": 0}
        for row in self.state.samples.counts(dataset):
            splits[row["split"]] += row["count_all"]
        result: dict[str, Any] = {"by": rule.by.value, "splits": splits, "kept": survey.kept}
        if rule.by is SplitBy.TIME:
            result |= {"test_from": rule.test_from, "validation_from": rule.validation_from}
            result["without_time"] = survey.without_time
        return result
