"""The `clean` job from its claim to its result."""

from __future__ import annotations

import json
import time
from typing import Any

import pyarrow as pa

from app.contracts import Dataset, Progress
from app.contracts.params import CleanParams
from app.logs import get_logger
from app.settings import Settings
from app.store.flags import FLAGS
from app.store.results import REPORT_JSON
from app.store.samples import StoredLabel
from app.store.state import State
from workers.clean.findings import COLUMNS, Findings, find
from workers.clean.publishing import publish_flags
from workers.clean.telling import counts, examples, flag_table
from workers.ground import Ground
from workers.lease import JobLease
from workers.report.keeping import job_and_result
from workers.score.room import when_there_is_room

log = get_logger(__name__)


class CleanJob:
    """Checks every sample of one version, and keeps what it finds. Changes no sample.

    A later attempt finds the same again: it reads the same version, and what is found depends on that alone.
    """

    def __init__(self, state: State, settings: Settings, lease: JobLease) -> None:
        self._state = state
        self._lease = lease
        self._params = CleanParams.model_validate(lease.claim.job.params)
        self._ground = Ground(state, settings, lease)

    def run(self) -> dict[str, Any]:
        """The job's `result`.

        Raises:
            JobCancelled, JobInterrupted, StaleWorker: from the lease.
            GradSiftError: what the client can act on.
        """
        started = time.monotonic()
        self._ground.phase("reading")
        dataset = self._ground.dataset()
        version = self._state.samples.pin(dataset, self._lease.claim.job.id)
        table = self._read(dataset, version)
        known = (
            None if dataset.labels is None else frozenset(StoredLabel.of(one).text for one in dataset.labels)
        )
        found = find(table, self._params, known, self._step)
        self._ground.phase("saving", step=len(table), total=len(table))
        told = counts(table, found)
        result = {"data_version": version, **told, "files": [FLAGS]}
        self._keep(dataset, table, found, result)
        seconds = round(time.monotonic() - started, 2)
        log.info("cleaned", samples=len(table), flagged=told["flagged"], seconds=seconds)
        return {**result, "seconds": seconds}

    def _read(self, dataset: Dataset, version: int) -> pa.Table:
        """By ordinal, so that "earlier" means "was here first"."""
        batches = []
        for batch in self._state.samples.scan(dataset, version, COLUMNS):
            self._lease.step()
            batches.append(batch)
        schema = self._state.samples.table(dataset, version).to_table(columns=list(COLUMNS), limit=0).schema
        return pa.Table.from_batches(batches, schema=schema).sort_by("ordinal").combine_chunks()

    def _step(self, phase: str, done: int, of: int) -> None:
        begins, ends = _SHARES[phase]
        fraction = begins + (ends - begins) * (done / of if of else 1.0)
        self._lease.step(Progress(phase=phase, step=done, total_steps=of, fraction=round(fraction, 4)))

    def _keep(self, dataset: Dataset, table: pa.Table, found: Findings, result: dict[str, Any]) -> None:
        """Files first: flags are never named before they are there."""
        job = self._lease.claim.job
        shown = examples(table, found, self._params.examples)
        report = json.dumps(job_and_result(job, result) | {"examples": shown}, ensure_ascii=False).encode()
        flags = flag_table(table, found)
        when_there_is_room(self._lease, lambda: self._state.flags.write(dataset.uid, job.id, flags))
        when_there_is_room(self._lease, lambda: self._ground.results.write(REPORT_JSON, report))
        publish_flags(self._ground, dataset)


_SHARES = {"checking": (0.02, 0.4), "comparing": (0.4, 0.42), "near-duplicates": (0.42, 0.97)}
"""Where each phase begins and ends in the whole."""
