"""What `label_events` computes, event by event in plain Python."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

import msgspec

from app.contracts.behaviors import BEHAVIORS, Behavior
from app.contracts.params import LabelParams
from workers.label.negatives import rounds_for

MASK = 2**64 - 1
VIEW, CANCEL, BUY = Behavior.VIEW, Behavior.CANCEL, Behavior.BUY


@dataclass(frozen=True)
class Event:
    """at: microseconds."""

    user: str
    item: str
    behavior: Behavior
    at: int
    query: str | None = None
    session: str | None = None


@dataclass(frozen=True)
class Expected:
    """A sample, as far as it depends on the events. behavior: None for a sampled negative."""

    user: str
    session: str
    query: str | None
    item: str
    behavior: Behavior | None
    first: int
    history: tuple[str, ...]
    side: int


@dataclass
class Unit:
    user: str
    session: str
    query: str | None
    item: str
    events: list[Event]

    @property
    def first(self) -> int:
        return min(event.at for event in self.events)


def expected(events: list[Event], texts: dict[str, str], params: LabelParams) -> list[Expected]:
    """events: by user, time and key, without repeats and bots."""
    acts = [event for event in events if event.behavior is not CANCEL]
    sessions = _sessions(acts, params.session_gap_minutes)
    members: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event, session in zip(acts, sessions, strict=True):
        members[event.user, session].append(event)
    ends = sorted(max(e.at for e in members[event.user, s]) for event, s in zip(acts, sessions, strict=True))
    cuts = _cuts(params, ends)
    undone = _taken_back(events, cuts)
    units: dict[tuple[object, ...], Unit] = {}
    for event, session in zip(acts, sessions, strict=True):
        query = _query(event, members[event.user, session])
        key = (event.user, session, query, event.item)
        units.setdefault(key, Unit(event.user, session, query, event.item, [])).events.append(event)
    usable = []
    for unit in units.values():
        of_session = members[unit.user, unit.session]
        sides = {_side(event.at, cuts) for event in of_session}
        history = _history(unit, acts, sessions, texts, params)
        if len(sides) == 1 and texts.get(unit.item) and (unit.query is not None or history):
            usable.append((unit, history, sides.pop(), max(event.at for event in of_session)))
    graded = [(*one, _strongest(one[0], undone, params)) for one in usable]
    return _chosen(graded, events, texts, params)


def _sessions(acts: list[Event], gap_minutes: float) -> list[str]:
    names = []
    last: dict[str, tuple[int, str]] = {}
    for event in acts:
        if event.session is not None:
            names.append(event.session)
            continue
        before = last.get(event.user)
        goes_on = before is not None and event.at - before[0] <= gap_minutes * 60_000_000
        name = before[1] if before is not None and goes_on else f"t{event.at}"
        last[event.user] = (event.at, name)
        names.append(name)
    return names


def _query(event: Event, of_session: list[Event]) -> str | None:
    found = None
    for other in of_session:
        if other.item == event.item and other.query is not None:
            found = other.query
        if other is event:
            return found
    raise AssertionError


def _cuts(params: LabelParams, ends: list[int]) -> tuple[float, float]:
    split = params.split
    if split.validation_from is not None or split.test_from is not None:
        test = math.inf if split.test_from is None else _microseconds(split.test_from)
        return (test if split.validation_from is None else _microseconds(split.validation_from), test)

    def share(part: float) -> float:
        behind = int(len(ends) * part)
        return ends[len(ends) - behind] if behind else math.inf

    test = share(split.test)
    return (share(split.validation + split.test) if split.validation else test, test)


def _side(at: int, cuts: tuple[float, float]) -> int:
    return (at >= cuts[0]) + (at >= cuts[1])


def _taken_back(events: list[Event], cuts: tuple[float, float]) -> set[int]:
    """`id` of the purchases that were."""
    found: set[int] = set()
    for cancel in sorted((e for e in events if e.behavior is CANCEL), key=lambda event: event.at):
        candidates = [
            (event.at, place, event)
            for place, event in enumerate(events)
            if event.behavior is BUY
            and (event.user, event.item) == (cancel.user, cancel.item)
            and event.at <= cancel.at
            and id(event) not in found
            and _side(event.at, cuts) == _side(cancel.at, cuts)
        ]
        if candidates:
            found.add(id(max(candidates, key=lambda found: found[:2])[2]))
    return found


def _strongest(unit: Unit, undone: set[int], params: LabelParams) -> Behavior:
    shown = [CANCEL if id(event) in undone else event.behavior for event in unit.events]
    return max(shown, key=lambda b: (params.grades.of(b), -1 if b is CANCEL else BEHAVIORS.index(b)))


def _history(
    unit: Unit, acts: list[Event], sessions: list[str], texts: dict[str, str], params: LabelParams
) -> tuple[str, ...]:
    met: dict[tuple[str, str], int] = {}
    for event, session in zip(acts, sessions, strict=True):
        if event.user == unit.user and event.behavior in params.history_of() and texts.get(event.item):
            met.setdefault((session, event.item), event.at)
    # Of one moment by session and item, as the arrays have them: named sessions come first, in order.
    order = sorted((at, _session_order(session), item) for (session, item), at in met.items())
    before = [item for at, _, item in order if at < unit.first]
    return tuple(reversed(before[-params.history_length :]))


def _session_order(name: str) -> tuple[bool, object]:
    return (True, int(name[1:])) if name.startswith("t") else (False, name)


Graded = tuple[Unit, tuple[str, ...], int, int, Behavior]


def _chosen(
    graded: list[Graded], events: list[Event], texts: dict[str, str], params: LabelParams
) -> list[Expected]:
    wanted = [one for one in graded if params.grades.of(one[4]) > 0]
    own = graded
    drawn: list[Expected] = []
    if params.negatives == "impressions":
        own = [one for one in graded if one[4] is not VIEW]
        groups = {(one[0].user, one[0].session, one[0].query) for one in graded}
        for group in groups:
            views = [one for one in graded if one[4] is VIEW and _group(one) == group]
            room = sum(one[4] is not VIEW and _group(one) == group for one in wanted)
            views.sort(key=lambda one: _digest(one[0]))
            own = own + views[: room * params.negatives_per_positive]
    if params.negatives == "sampled":
        drawn = _drawn(wanted, events, texts, params)
    found = [
        Expected(unit.user, unit.session, unit.query, unit.item, behavior, unit.first, history, side)
        for unit, history, side, _, behavior in own
    ]
    return found + drawn


def _group(one: Graded) -> tuple[str, str, str | None]:
    return one[0].user, one[0].session, one[0].query


def _drawn(
    wanted: list[Graded], events: list[Event], texts: dict[str, str], params: LabelParams
) -> list[Expected]:
    first_met: dict[str, int] = {}
    for event in events:
        if texts.get(event.item):
            first_met[event.item] = min(event.at, first_met.get(event.item, event.at))
    pool = sorted(first_met, key=lambda item: (first_met[item], item))
    wanted = sorted(wanted, key=_unit_order)
    need = [params.negatives_per_positive] * len(wanted)
    taken: set[tuple[object, ...]] = set()
    found = []
    for turn in range(rounds_for(params.negatives_per_positive)):
        for place, one in enumerate(wanted):
            unit, history, side, end, _ = one
            known = sum(at < unit.first for at in first_met.values())
            if not need[place] or not known:
                continue
            item = pool[_draw(_digest(unit), params.seed, turn) % known]
            touched = any(e.user == unit.user and e.item == item and e.at <= end for e in events)
            if touched or (*_group(one), item) in taken:
                continue
            taken.add((*_group(one), item))
            need[place] -= 1
            found.append(Expected(unit.user, unit.session, unit.query, item, None, unit.first, history, side))
    return found


def _unit_order(one: Graded) -> tuple[object, ...]:
    unit = one[0]
    return (unit.user, unit.first, _session_order(unit.session), unit.query or "", unit.item)


def _digest(unit: Unit) -> int:
    content = msgspec.json.encode([unit.user, unit.session, unit.query, unit.item])
    return int.from_bytes(blake2b(content, digest_size=16, person=b"unit").digest()[:8], "little")


def _draw(digest: int, seed: int, turn: int) -> int:
    return _mixed(digest ^ _mixed((seed << 32) + turn))


def _mixed(number: int) -> int:
    number = (number + 0x9E3779B97F4A7C15) & MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK
    return number ^ (number >> 31)


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
