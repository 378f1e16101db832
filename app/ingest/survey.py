"""What a split rule is made of: collected from the samples, batch by batch."""

from __future__ import annotations

import json
from array import array
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.contracts.params import SplitParams
from app.contracts.splits import SplitBy, SplitRule, Stratum
from app.errors import JobFailed
from app.ingest.splitting import (
    place_of_group,
    place_of_id,
    split_at,
    split_of_group,
    stratum,
    time_of,
    times_from,
)

PLACING_COLUMNS = ("ordinal", "id", "label", "group", "split", "meta")
LABELS_AT_MOST = 10_000


class Survey:
    """Fed with the rows of one version of the samples; then makes the rule and says which groups go where."""

    def __init__(self, params: SplitParams) -> None:
        self._params = params
        self._keep = frozenset(params.keep)
        # Samples that `keep` leaves as they are stay out of the shares, and so does the rest of their group.
        self.test = 0.0 if "test" in self._keep else params.test
        self.validation = 0.0 if "validation" in self._keep else params.validation
        self._places: defaultdict[str | None, array[float]] = defaultdict(lambda: array("d"))
        self._groups: dict[str, _Group] = {}
        self._alone = array("d")
        """Places, or times, of samples without a group."""
        self._kept: defaultdict[str, set[str]] = defaultdict(set)
        self.kept = 0
        self.without_time = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Rows with PLACING_COLUMNS."""
        columns = [batch.column(name).to_pylist() for name in ("id", "label", "group", "split", "meta")]
        for sample_id, label, group, split, meta in zip(*columns, strict=True):
            if split in self._keep:
                self.kept += 1
                if group is not None:
                    self._kept[group].add(split)
            elif self._params.by is SplitBy.STRATIFIED:
                self._places[label].append(place_of_id(sample_id, self._params.seed))
            elif self._params.by is SplitBy.GROUP:
                self._add(group, place_of_group(sample_id, group, self._params.seed))
            else:
                time = time_of(meta_value(meta, self._params.time_field))
                self.without_time += time is None
                self._add(group, time)

    def _add(self, group: str | None, at: float | None) -> None:
        if group is not None:
            size, newest = self._groups.get(group, (0, None))
            known = [time for time in (newest, at) if time is not None]
            self._groups[group] = _Group(size + 1, max(known, default=None))
        elif at is not None:
            self._alone.append(at)

    def rule(self, job: str, at: datetime) -> tuple[SplitRule, dict[str, str]]:
        """The rule, and the splits of groups that their samples follow.

        Raises:
            JobFailed: no sample says its time, or there are too many labels.
        """
        params = self._params
        followed = {group: split_of_group(sorted(splits)) for group, splits in self._kept.items()}
        strata: tuple[Stratum, ...] = ()
        test_from = validation_from = None
        if params.by is SplitBy.STRATIFIED:
            followed, strata = {}, tuple(self._strata())
        elif params.by is SplitBy.GROUP:
            strata = (self._stratum(None, *self._units(followed)),)
        else:
            test_from, validation_from = self._times(followed)
        rule = SplitRule(
            by=params.by,
            validation=self.validation,
            test=self.test,
            seed=params.seed,
            field=f"meta.{params.time_field}" if params.by is SplitBy.TIME else None,
            keep=tuple(sorted(self._keep)),
            strata=strata,
            validation_from=validation_from,
            test_from=test_from,
            job=job,
            created_at=at,
        )
        if params.by is SplitBy.TIME:
            newest = {group: split_at(rule, one.at) for group, one in self._groups.items()}
            followed = newest | followed
        return rule, followed

    def _strata(self) -> Iterable[Stratum]:
        if len(self._places) > LABELS_AT_MOST:
            detail = f"the dataset has {len(self._places)} labels, stratified splits are for {LABELS_AT_MOST}"
            raise JobFailed("too_many_labels", detail)
        labels = sorted(self._places, key=lambda label: (label is None, label))
        for label in labels:
            places = np.array(self._places[label])
            yield self._stratum(label, places, np.ones(len(places), dtype=np.int64))

    def _stratum(self, label: str | None, places: NDArray[np.float64], sizes: NDArray[np.int64]) -> Stratum:
        return stratum(label, places, sizes, test=self.test, validation=self.validation)

    def _times(self, followed: dict[str, str]) -> tuple[float | None, float | None]:
        times, sizes = self._units(followed)
        if not len(times):
            detail = f"no sample has a number or a date under {self._params.time_field!r} in its meta"
            raise JobFailed("no_timestamps", detail)
        return times_from(times, sizes, test=self.test, validation=self.validation)

    def _units(self, followed: dict[str, str]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Places or times of groups and of samples without one, and the sizes; none of those that follow."""
        groups = [one for group, one in self._groups.items() if group not in followed and one.at is not None]
        at = np.array([*(one.at for one in groups), *self._alone], dtype=np.float64)
        sizes = np.ones(len(at), dtype=np.int64)
        sizes[: len(groups)] = [one.size for one in groups]
        return at, sizes


class _Group(NamedTuple):
    size: int
    at: float | None
    """Its place, or the newest of its times."""


def meta_value(meta: str | None, name: str) -> Any:
    """What the stored `meta` says under a name."""
    return None if meta is None else json.loads(meta).get(name)
