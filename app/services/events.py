"""Behaviour logs: what has come in, and forgetting of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.contracts import Dataset, JobKind
from app.contracts.behaviors import BEHAVIORS, EVENT_SAMPLES
from app.errors import Conflict
from app.ingest.deleting import delete_samples
from app.ingest.event_flags import bots, repeats
from app.settings import Settings
from app.store.pseudonyms import open_pseudonyms
from app.store.state import State
from app.store.unfinished import writing_samples


@dataclass(frozen=True)
class Forgotten:
    events: int
    samples: int


def summary(state: State, dataset: Dataset, max_events_per_minute: int) -> dict[str, Any]:
    """Counts of the dataset's events and items, and what a label job would leave out of them."""
    log = state.events.log.read(dataset, ["user", "item", "behavior", "at", "query"])
    items = state.events.items.read(dataset, ["item", "catalogue"])
    counts = {row["values"]: row["counts"] for row in pc.value_counts(log["behavior"]).to_pylist()}
    users, at = _codes(log["user"]), log["at"].cast(pa.int64()).to_numpy()
    again = repeats(users, _codes(log["item"]), _codes(log["behavior"]), at, _codes(log["query"]))
    seen = pc.unique(log["item"])
    span = (_moment(at.min()), _moment(at.max())) if len(at) else (None, None)
    suspects = bots(users, at, max_events_per_minute)
    return {
        "events": log.num_rows,
        "behaviors": {behavior.value: counts.get(behavior.value, 0) for behavior in BEHAVIORS},
        "users": pc.count_distinct(log["user"]).as_py(),
        "items": len(seen),
        "first_at": span[0],
        "last_at": span[1],
        "repeats": int(again.sum()),
        "bots": {"users": len(suspects), "events": int(np.isin(users, suspects).sum())},
        "items_without_text": len(seen) - pc.sum(pc.is_in(seen, value_set=items["item"])).as_py()
        if len(seen)
        else 0,
        "catalogue": pc.sum(items["catalogue"]).as_py() or 0,
    }


def forget_user(state: State, settings: Settings, dataset: Dataset, user: str) -> Forgotten:
    """Deletes a user's events and the samples that were made of them.

    A label job that has read the events would make the samples again: it has to end first.

    Raises:
        Conflict: such a job is running, or users are hashed under another key by now.
    """
    pseudonyms = open_pseudonyms(settings)
    state.events.check_key(dataset, pseudonyms)
    known = pseudonyms.user(user)
    with writing_samples(state, dataset):
        for job_id in state.jobs.unfinished_of(dataset.uid):
            job = state.jobs.get(job_id)
            if job.kind is JobKind.LABEL and job.attempt:
                detail = f"label job {job_id} has read the events of {dataset.name!r} and has not ended"
                raise Conflict("labels_running", detail)
        events = state.events.delete_user(dataset, known)
    ids = state.samples.ids_that_begin(dataset, f"{EVENT_SAMPLES}{known}:")
    return Forgotten(events, delete_samples(state, dataset, ids, without_trace=True))


def _codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Equal numbers are equal texts, -1 is none."""
    indices = column.combine_chunks().dictionary_encode().indices.fill_null(-1)
    codes: NDArray[np.int64] = indices.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return codes


def _moment(at: np.int64) -> datetime:
    return datetime.fromtimestamp(int(at) / 1_000_000, UTC)
