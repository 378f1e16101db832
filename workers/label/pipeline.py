"""A label job, from claim to result.

Everything follows from the versions of events and catalogue that the job reads and from its params, so that
another attempt makes the same samples under the same ids, and goes on storing where the one before came to.
"""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

from app.contracts import Dataset, Progress
from app.contracts.behaviors import BEHAVIORS, EVENT_SAMPLES
from app.contracts.params import LabelParams
from app.errors import JobFailed
from app.ingest.deleting import delete_samples
from app.ingest.event_retention import forget_old_events
from app.ingest.rows import SampleRow, known_labels
from app.settings import Settings
from app.store.samples import StoredLabel
from app.store.state import State
from workers.ground import Ground
from workers.label.event_log import COLUMNS, Cleaned, cleaned, event_log
from workers.label.labelling import UNTOUCHED, Samples, label_events
from workers.lease import JobLease
from workers.score.room import when_there_is_room
from workers.storing.batches import BatchStorer

ROWS_A_WRITE = 2_000
DELETED = "deleted"
MADE_OF_EVENTS = re.compile(rf"{EVENT_SAMPLES}[0-9a-f]{{32}}:[0-9a-f]{{32}}")


class LabelJob:
    def __init__(self, state: State, settings: Settings, lease: JobLease) -> None:
        self._ground = Ground(state, settings, lease)
        self._params = LabelParams.model_validate(lease.claim.job.params)

    def run(self) -> dict[str, Any]:
        ground, params = self._ground, self._params
        dataset = ground.dataset()
        ground.phase("reading")
        ground.when_free(lambda: forget_old_events(ground.state, dataset))
        log, texts, stored = self._read(dataset)
        clean = cleaned(log, drop_bots=params.drop_bots, moments_a_minute=params.max_events_per_minute)
        ground.phase("labelling")
        samples = label_events(clean.log, texts, params, ground.lease.step)
        self._refuse_unusable(dataset, samples)
        written, deleted = self._write(dataset, samples)
        return self._result(dataset, stored, clean, samples, written, deleted)

    def _read(self, dataset: Dataset) -> tuple[Any, dict[str, str], int]:
        """Events and texts at the versions that every attempt reads."""
        state, job_id = self._ground.state, self._ground.claim.job.id

        def pin() -> dict[str, int]:
            with state.datasets.writing(dataset):  # whoever deletes a user's events looks for who reads them
                return state.events.pin(dataset, job_id)

        versions = self._ground.when_free(pin)
        # By its files the job is found when it has ended, and the versions are let go.
        self._ground.artifacts.write("events.json", json.dumps(versions).encode())
        table = state.events.log.read(dataset, COLUMNS, version=versions["events"])
        self._ground.lease.check()
        items = state.events.items.read(dataset, ["item", "text"], version=versions["items"])
        texts = dict(zip(items["item"].to_pylist(), items["text"].to_pylist(), strict=True))
        return event_log(table), texts, table.num_rows

    def _refuse_unusable(self, dataset: Dataset, samples: Samples) -> None:
        """Raises JobFailed where there is no sample, or one of a label that the dataset cannot have."""
        if not len(samples):
            raise JobFailed("no_labelled_events", f"no event makes a sample; left out: {samples.left_out}")
        known = known_labels(dataset)
        wanted = {StoredLabel.of(label).text for label in samples.labels(dataset.task, self._params)}
        missing = sorted(wanted - known.keys()) if known is not None else []
        if missing:
            detail = f"the labels of {dataset.name!r} are fixed, and {', '.join(missing)} are none of them"
            raise JobFailed("unknown_label", detail)

    def _write(self, dataset: Dataset, samples: Samples) -> tuple[dict[str, int], int]:
        """Stores the samples and deletes those of earlier jobs that no longer follow."""
        counts = self._store(dataset, samples)
        self._ground.phase("clearing")
        state, wanted = self._ground.state, set(samples.ids)
        present = state.samples.ids_that_begin(dataset, EVENT_SAMPLES)
        left = [one for one in present if MADE_OF_EVENTS.fullmatch(one) and one not in wanted]
        deleted = self._noted_first(DELETED, len(left))
        check = self._ground.lease.check
        self._ground.when_free(lambda: delete_samples(state, dataset, left, between=lambda _: check()))
        return counts, deleted

    def _noted_first(self, name: str, number: int) -> int:
        """The number, or that of an earlier attempt, which has done some of the work already."""
        artifacts = self._ground.artifacts
        if not artifacts.has(name):
            when_there_is_room(self._ground.lease, lambda: artifacts.write(name, b"%d" % number))
        return int(artifacts.read(name) or number)

    def _store(self, dataset: Dataset, samples: Samples) -> dict[str, int]:
        ground, total = self._ground, len(samples)
        storer = BatchStorer(ground)
        position = storer.position()
        for at in range(position.row, total, ROWS_A_WRITE):
            done = Progress(phase="writing", step=at, total_steps=total, fraction=at / total)
            ground.lease.step(done)
            rows = samples.rows(
                at, at + ROWS_A_WRITE, dataset.task, self._params, ground.settings.max_text_chars
            )
            position = storer.store(dataset, position, [partial(_itself, row) for row in rows])
        counts = position.counts
        if counts.rejected_total:
            first = position.rejected[0]
            raise JobFailed(first.code, f"{counts.rejected_total} samples; the first: {first.detail}")
        return {"created": counts.created, "updated": counts.updated, "unchanged": counts.unchanged}

    def _result(
        self,
        dataset: Dataset,
        stored: int,
        clean: Cleaned,
        samples: Samples,
        written: dict[str, int],
        deleted: int,
    ) -> dict[str, Any]:
        behaviors = {
            behavior.value: int((clean.log.behavior == code).sum()) for code, behavior in enumerate(BEHAVIORS)
        }
        labels = samples.labels(dataset.task, self._params)
        return {
            "events": stored,
            "repeats": clean.repeats,
            "bots": {"users": clean.bots, "events": clean.bot_events, "dropped": self._params.drop_bots},
            "behaviors": behaviors,
            "users": len(set(clean.log.user.tolist())),
            "sessions": len(samples.sessions),
            "samples": {"total": len(samples), **written, "deleted": deleted},
            "labels": {StoredLabel.of(label).text: count for label, count in sorted(labels.items(), key=str)},
            "splits": samples.splits(),
            "sampled_negatives": int((samples.behavior == UNTOUCHED).sum()),
            "left_out": samples.left_out,
        }


def _itself(row: SampleRow) -> SampleRow:
    return row
