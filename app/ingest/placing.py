"""Samples put into their splits: those that come in without one, and those that are stored already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from app.contracts import Dataset
from app.contracts.splits import SplitBy, SplitRule
from app.errors import Invalid
from app.ingest.rows import SampleRow
from app.ingest.splitting import Placing, split_at, split_of_group, time_of
from app.ingest.survey import PLACING_COLUMNS, meta_value
from app.store.content import content_digest, entry_of
from app.store.ids import IdEntry
from app.store.layout import GENERATIONS
from app.store.samples import SCHEMA
from app.store.state import State
from app.store.unfinished import writing_samples

if TYPE_CHECKING:
    from app.ingest.writing import Checked

OTHER_SPLITS = ("validation", "test")


# -- as rows come in -----------------------------------------------------------------------------------
def placed(
    state: State, dataset: Dataset, batch: Sequence[Checked], entries: Sequence[IdEntry]
) -> Sequence[Checked]:
    """The batch with a split for every row that was sent without one: where the dataset has a rule, a stored
    sample keeps its split and a new one gets it by the rule. The caller holds the write lock."""
    if all(one.row.split for one in batch):
        return batch
    rule = state.splits.rule(dataset)
    if rule is None:
        return batch
    pairs = list(zip(batch, entries, strict=True))
    splits = _stored_splits(state, dataset, [pair for pair in pairs if pair[1].stored])
    coming = [one for one, old in pairs if not (one.row.split or old.ordinal in splits)]
    placing = Placing(rule, _followed(state, dataset, rule, coming))
    settled = []
    for one, old in pairs:
        if one.row.split:
            settled.append(one)
            continue
        split = splits.get(old.ordinal) or placing.split_of(
            one.row.id, _label(one), _group(one.row), _time(rule, one.row)
        )
        row = msgspec.structs.replace(one.row, split=split)
        settled.append(one._replace(row=row, content=_content(one, split)))
    return settled


def _stored_splits(
    state: State, dataset: Dataset, pairs: Sequence[tuple[Checked, IdEntry]]
) -> dict[int, str]:
    """Splits of stored samples whose rows name none: told by the digest where nothing else has changed."""
    splits, changed = {}, []
    for one, old in pairs:
        if one.row.split:
            continue
        if one.content == old.content:
            splits[old.ordinal] = "train"  # which the row was checked with
            continue
        same = [split for split in OTHER_SPLITS if _content(one, split) == old.content]
        if same:
            splits[old.ordinal] = same[0]
        else:
            changed.append(old.ordinal)
    rows = state.samples.by_ordinals(dataset, changed, ["split"])
    return splits | {ordinal: row["split"] for ordinal, row in rows.items()}


def _followed(state: State, dataset: Dataset, rule: SplitRule, coming: Sequence[Checked]) -> dict[str, str]:
    """Where the groups of new samples are: with their stored ones, or by time with their newest."""
    groups = {group for one in coming if (group := _group(one.row)) is not None}
    if not rule.follows or not groups:
        return {}
    stored = state.samples.splits_of_groups(dataset, sorted(groups))
    followed = {group: split_of_group(splits) for group, splits in stored.items()}
    if rule.by is not SplitBy.TIME:
        return followed
    newest: dict[str, float] = {}
    for one in coming:
        group, time = _group(one.row), time_of(_time(rule, one.row))
        if group is not None and time is not None:
            newest[group] = max(time, newest.get(group, time))
    return {group: split_at(rule, time) for group, time in newest.items()} | followed


def _content(one: Checked, split: str) -> int:
    return content_digest(one.row.text, one.row.text_pair, _label(one), split)


def _label(one: Checked) -> str | None:
    return None if one.label is None else one.label.text


def _group(row: SampleRow) -> str | None:
    return None if row.group is None else str(row.group)


def _time(rule: SplitRule, row: SampleRow) -> object:
    return None if rule.field is None or row.meta is None else row.meta.get(rule.field.removeprefix("meta."))


# -- where they are stored -----------------------------------------------------------------------------
def move_to_splits(state: State, dataset: Dataset, placing: Placing, first: int, stop: int) -> int:
    """Puts the samples of ordinals `first` … `stop` − 1 where the rule has them; answers how many moved.

    Kept splits stay, and so do groups that nobody knew of when the rule was made: they were placed by it.

    Raises:
        Unavailable: Redis was restarted meanwhile; the next call finishes what this one began.
        Conflict: another writer held the dataset for too long.
        Invalid: the content of a sample has changed as often as it may.
    """
    since = state.durability.incarnation()
    with writing_samples(state, dataset):
        splits: dict[int, str] = {}
        for row in state.samples.between(dataset, first, stop, PLACING_COLUMNS):
            split = _split_by_rule(placing, row)
            if split != row["split"]:
                splits[row["ordinal"]] = split
        if splits:
            rows = list(state.samples.by_ordinals(dataset, list(splits)).values())
            _rewrite(state, dataset, [_moved(row, splits[row["ordinal"]]) for row in rows], since)
    return len(splits)


def _split_by_rule(placing: Placing, row: dict[str, Any]) -> str:
    rule, group = placing.rule, row["group"]
    stays = row["split"] in rule.keep or (
        rule.by is SplitBy.TIME and group is not None and group not in placing.followed
    )
    if stays:
        return str(row["split"])
    time = None if rule.field is None else meta_value(row["meta"], rule.field.removeprefix("meta."))
    return placing.split_of(row["id"], row["label"], group, time)


def _moved(row: dict[str, Any], split: str) -> dict[str, Any]:
    generation = row["generation"] + 1
    if generation == GENERATIONS:
        detail = f"the content of {row['id']!r} has changed {row['generation']} times, which is the most"
        raise Invalid("too_many_changes", detail)
    return row | {"generation": generation, "split": split}


def _rewrite(state: State, dataset: Dataset, rows: Sequence[dict[str, Any]], since: str | None) -> None:
    """Journal, rows, entries: in this order whoever comes after a crash can finish it."""
    state.journal.begin(dataset.uid, [row["id"] for row in rows])
    state.make_durable(since=since)
    state.samples.write(dataset, pa.Table.from_pylist(list(rows), schema=SCHEMA), all_new=False)
    entries = [(row["id"], entry_of(row)) for row in rows]
    state.ids.commit(dataset, entries, state.sets.numbers(dataset))
    state.make_durable(since=since)
    state.journal.end(dataset.uid)
    state.samples.compact_if_scattered(dataset)
