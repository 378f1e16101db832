"""The records that a run begins with."""

from __future__ import annotations

from app.contracts import Dataset
from app.logs import get_logger
from app.store.deltas import LAST_STEP
from app.store.layout import SHARD_RECORDS
from app.store.records import Records
from app.store.scores import shard_count
from app.store.state import State

log = get_logger(__name__)


def unsettled_shards(state: State, dataset: Dataset, lineage_id: str, ordinals: int, run: int) -> set[int]:
    """The shards in Redis that hold something of `run` already, or that disagree with the files about a run
    before it that nobody ended."""
    ledgers = state.scores.ledgers(dataset.uid, lineage_id, range(shard_count(ordinals)))
    runs = state.archive.of_dataset(dataset).deltas(lineage_id).runs()
    unended = max((one.number for one in runs if one.number < run and not one.closed), default=0)
    behind = {number for number in range(shard_count(ordinals)) if number not in ledgers and unended}
    return behind | {
        number
        for number, held in ledgers.items()
        if held.step != LAST_STEP or held.run == run or held.run < unended
    }


def settled_records(
    state: State, dataset: Dataset, lineage_id: str, ordinals: int, unsettled: set[int], *, run: int
) -> Records:
    """The lineage's records as run number `run` finds them, without a visit of its own.

    A run that nobody saw the end of (its workers died until it failed) counts up to the last epoch that was
    stored. Its shards in Redis may be ahead of that, or behind; they are added up anew from the files.

    Raises:
        StaleWorker: another attempt has begun to write since `unsettled` was found out.
    """
    records = state.scores.read_all(dataset.uid, lineage_id, ordinals, before_run=run, but=unsettled)
    deltas = state.archive.of_dataset(dataset).deltas(lineage_id)
    runs = [one for one in deltas.runs() if one.number < run] if unsettled else []
    for number in unsettled:
        first, stop = number * SHARD_RECORDS, min((number + 1) * SHARD_RECORDS, ordinals)
        records[first:stop] = deltas.replay(runs, first, stop)
    if unsettled:
        log.warning("scores of a run that nobody ended go back to its last epoch", shards=len(unsettled))
    return records
