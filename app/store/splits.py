"""The split rule of a dataset and whether a job has used its splits: fields of its meta hash, so that the
manifest tells them to a rebuild."""

from __future__ import annotations

from typing import cast

import redis

from app.contracts import Dataset
from app.contracts.splits import SplitRule
from app.errors import Conflict, JobFailed
from app.store.keys import Keys


class SplitStore:
    """Whoever writes holds the dataset's write lock and saves the manifest after it."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def rule(self, dataset: Dataset) -> SplitRule | None:
        raw = self._client.hget(self._keys.dataset(dataset.uid).meta, "split_rule")
        return None if raw is None else SplitRule.model_validate_json(cast("bytes", raw))

    def save_rule(self, dataset: Dataset, rule: SplitRule) -> None:
        self._client.hset(self._keys.dataset(dataset.uid).meta, "split_rule", rule.model_dump_json())

    def used_by(self, dataset: Dataset) -> str | None:
        """The first job that trained on the dataset's splits; from then on no rule may replace them."""
        raw = self._client.hget(self._keys.dataset(dataset.uid).meta, "splits_used_by")
        return None if raw is None else cast("bytes", raw).decode()

    def mark_used(self, dataset: Dataset, job_id: str) -> None:
        """Once and for all: a later job changes nothing."""
        self._client.hsetnx(self._keys.dataset(dataset.uid).meta, "splits_used_by", job_id)

    def refuse_used(self, dataset: Dataset) -> None:
        """Raises Conflict where a job has trained on the splits: what it found would be of other ones."""
        job_id = self.used_by(dataset)
        if job_id is not None:
            raise Conflict(
                "splits_in_use",
                f"job {job_id} has trained on the splits of {dataset.name!r}, which are fixed",
            )

    def refuse_half_applied(self, dataset: Dataset) -> None:
        """Raises JobFailed where a split job stopped half-way: some samples are not where they belong."""
        rule = self.rule(dataset)
        if rule is not None and not rule.applied:
            raise JobFailed(
                "split_unfinished", f"job {rule.job} has not put all samples of {dataset.name!r} into splits"
            )
