"""Samples of behaviour logs agree with a slow twin, and know nothing of what comes later."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts import Split, Task
from app.contracts.behaviors import BEHAVIORS, Behavior
from app.contracts.params import LabelParams
from app.ingest.event_flags import bots
from app.store.events import EVENTS
from tests.workers.labelling_twin import Event, Expected, expected
from workers.label.event_log import COLUMNS, EventLog, cleaned, event_log
from workers.label.labelling import UNTOUCHED, Samples, label_events

MINUTE = 60_000_000
SPLITS = [Split.TRAIN, Split.VALIDATION, Split.TEST]
event = st.builds(
    Event,
    user=st.sampled_from(["u0", "u1", "u2"]),
    item=st.sampled_from([f"i{n}" for n in range(6)]),
    behavior=st.sampled_from(BEHAVIORS),
    at=st.integers(0, 40).map(lambda minutes: minutes * 7 * MINUTE),
    query=st.sampled_from([None, None, "dress", "shoe"]),
    session=st.sampled_from([None, None, "a", "b"]),
)
split = st.one_of(
    st.fixed_dictionaries({"validation": st.sampled_from([0, 0.2]), "test": st.sampled_from([0, 0.3])}),
    st.fixed_dictionaries({"test_from": st.just("1970-01-01T02:30:00Z")}),
    st.fixed_dictionaries(
        {"validation_from": st.just("1970-01-01T01:00:00Z"), "test_from": st.just("1970-01-01T03:00:00Z")}
    ),
)
params = st.builds(
    LabelParams.model_validate,
    st.fixed_dictionaries(
        {
            "grades": st.fixed_dictionaries(
                {"view": st.sampled_from([0, 1]), "cancel": st.sampled_from([0, 1])}
            ),
            "session_gap_minutes": st.sampled_from([6, 30]),
            "history_length": st.integers(1, 4),
            "history_behaviors": st.sampled_from([None, ["buy"], ["click", "view"]]),
            "negatives": st.sampled_from(["sampled", "impressions", "none"]),
            "negatives_per_positive": st.integers(1, 3),
            "split": split,
            "seed": st.integers(0, 3),
        }
    ),
)
with_text = st.sets(st.sampled_from([f"i{n}" for n in range(6)]), min_size=2)


def logged(events: list[Event]) -> EventLog:
    rows = [
        {
            "key": f"{number:016}".encode(),
            "user": one.user,
            "item": one.item,
            "behavior": one.behavior.value,
            "at": datetime.fromtimestamp(one.at // 1_000_000, UTC),
            "query": one.query,
            "session": one.session,
        }
        for number, one in enumerate(events)
    ]
    table = pa.Table.from_pylist(rows, schema=EVENTS).select(list(COLUMNS))
    return cleaned(event_log(table), drop_bots=True, moments_a_minute=30).log


def events_of(log: EventLog) -> list[Event]:
    """What is left of the events, in the order of the log."""
    return [
        Event(
            user=log.users[log.user[place]],
            item=log.items[log.item[place]],
            behavior=BEHAVIORS[log.behavior[place]],
            at=int(log.at[place]),
            query=None if log.query[place] < 0 else log.queries[log.query[place]],
            session=None if log.session[place] < 0 else log.sessions[log.session[place]],
        )
        for place in range(len(log))
    ]


def found(samples: Samples) -> list[Expected]:
    units, log = samples.units, samples.log
    return [
        Expected(
            user=log.users[units.user[of]],
            session=samples.sessions.names[units.session[of]],
            query=None if units.query[of] < 0 else log.queries[units.query[of]],
            item=log.items[samples.item[place]],
            behavior=None if samples.behavior[place] == UNTOUCHED else BEHAVIORS[samples.behavior[place]],
            first=int(units.first[of]),
            history=tuple(log.items[item] for item in samples.histories.newest_first(of)),
            side=int(samples.side[place]),
        )
        for place, of in enumerate(samples.of.tolist())
    ]


@settings(max_examples=200, deadline=None)
@given(st.lists(event, min_size=1, max_size=40), params, with_text)
def test_as_its_slow_twin(events: list[Event], asked: LabelParams, known: set[str]) -> None:
    log = logged(events)
    texts = {item: f"text of {item}" for item in known}
    samples = label_events(log, texts, asked)
    assert Counter(found(samples)) == Counter(expected(events_of(log), texts, asked))
    assert len(set(samples.ids)) == len(samples)


@settings(max_examples=200, deadline=None)
@given(st.lists(event, min_size=1, max_size=40), params, with_text)
def test_nothing_is_known_of_later_events(events: list[Event], asked: LabelParams, known: set[str]) -> None:
    """Cut at moments, so that no cut moves: without what comes after it, train samples are the same ones."""
    cut = 150 * MINUTE
    asked = asked.model_copy(
        update={"split": LabelParams.model_validate({"split": {"test_from": "1970-01-01T02:30:00Z"}}).split}
    )
    texts = {item: f"text of {item}" for item in known}
    whole = label_events(logged(events), texts, asked)
    sessions = whole.sessions
    across = {
        (whole.log.users[user], name)
        for user, name, first, last in zip(
            sessions.user, sessions.names, sessions.first, sessions.last, strict=True
        )
        if first < cut <= last
    }
    earlier = [one for one in events if one.at < cut]
    before = {} if not earlier else rows_outside(label_events(logged(earlier), texts, asked), asked, across)
    train = rows_outside(whole, asked, across)
    assert before == {name: row for name, row in train.items() if row.split == "train"}


def rows_outside(samples: Samples, asked: LabelParams, left_out: set[tuple[str, str]]) -> dict[str, Any]:
    """By id, without those of some sessions: one that a cut goes through is whole without what follows."""
    rows = samples.rows(0, len(samples), Task.RELEVANCE, asked, 10_000)
    sessions = samples.units.session[samples.of].tolist()
    names = [(samples.log.users[samples.sessions.user[at]], samples.sessions.names[at]) for at in sessions]
    return {row.id: row for row, name in zip(rows, names, strict=True) if name not in left_out}


@settings(max_examples=100, deadline=None)
@given(st.lists(event, min_size=1, max_size=40), params, with_text)
def test_sides_are_in_order_and_share_no_group(
    events: list[Event], asked: LabelParams, known: set[str]
) -> None:
    samples = label_events(logged(events), {item: item for item in known}, asked)
    rows = samples.rows(0, len(samples), Task.CLASSIFICATION, asked, 10_000)
    sides: dict[Any, set[str]] = {}
    times: dict[str, list[str]] = {}
    for row in rows:
        assert row.meta is not None
        sides.setdefault(row.group, set()).add(row.split)
        times.setdefault(row.split, []).append(str(row.meta["timestamp"]))
    assert all(len(of_group) == 1 for of_group in sides.values())
    present = [times[one] for one in SPLITS if one in times]
    assert all(max(one) < min(other) for one, other in pairwise(present))


@settings(max_examples=50, deadline=None)
@given(st.lists(event, min_size=1, max_size=40), st.integers(1, 30))
def test_a_limit_takes_whole_sessions(events: list[Event], limit: int) -> None:
    texts = {f"i{n}": f"text {n}" for n in range(6)}
    whole = label_events(logged(events), texts, LabelParams())
    some = label_events(logged(events), texts, LabelParams(max_samples=limit))
    assert len(some) <= limit or len(some) == len(whole)
    sessions = Counter(whole.units.session[whole.of].tolist())
    kept = Counter(some.units.session[some.of].tolist())
    assert all(sessions[number] == count for number, count in kept.items())
    assert set(some.ids) <= set(whole.ids)


def test_labels_of_both_tasks() -> None:
    events = [
        Event("u", "i0", Behavior.VIEW, 0),
        Event("u", "i1", Behavior.BUY, MINUTE),
        Event("u", "i2", Behavior.BUY, 2 * MINUTE),
        Event("u", "i2", Behavior.CANCEL, 3 * MINUTE),
    ]
    asked = LabelParams.model_validate({"negatives": "none", "split": {"validation": 0, "test": 0}})
    samples = label_events(logged(events), {f"i{n}": f"item {n}" for n in range(3)}, asked)
    graded = samples.rows(0, 10, Task.RELEVANCE, asked, 10_000)
    assert [(row.text, row.text_pair, row.label) for row in graded] == [
        ("item 0", "item 1", 4),
        ("item 1 ; item 0", "item 2", 0),
    ]
    named = samples.rows(0, 10, Task.CLASSIFICATION, asked, 10_000)
    assert [row.label for row in named] == ["buy", "cancel"]


@pytest.mark.parametrize(("moments", "suspected"), [(5, False), (6, True)])
def test_bots_act_at_more_moments_than_people(moments: int, suspected: bool) -> None:
    at = np.repeat(np.arange(moments) * 1_000_000, 3)  # three events at each
    assert (len(bots(np.zeros_like(at), at, 5)) == 1) is suspected
    slow = np.arange(moments) * 20 * 1_000_000
    assert len(bots(np.zeros_like(slow), slow, 5)) == 0
