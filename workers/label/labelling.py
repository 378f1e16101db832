"""The samples that follow from a behaviour log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.contracts import Label, Split, Task
from app.contracts.behaviors import BEHAVIORS, EVENT_SAMPLES, Behavior
from app.contracts.params import LabelParams
from app.ingest.rows import SampleRow
from workers.label.cancels import taken_back
from workers.label.event_log import CANCEL, Codes, EventLog, Mask
from workers.label.histories import Histories, histories
from workers.label.negatives import Digests, Negatives, impressions, sampled
from workers.label.sessions import STRADDLES, Sessions, attributed_queries, cuts_of, number_sessions
from workers.label.units import Units, make_units, unit_digests

UNTOUCHED = -1
"""Stands where a behaviour would: the item is a sampled negative."""
NO_BEHAVIOR = "none"
BETWEEN_TEXTS = " ; "
QUERY_CHARS_IN_GROUP = 900
SPLITS = (Split.TRAIN, Split.VALIDATION, Split.TEST)
VIEW = BEHAVIORS.index(Behavior.VIEW)


class _Context(NamedTuple):
    """What a unit shares with the negatives that were drawn for it."""

    text: str
    group: str
    user: str
    timestamp: str


@dataclass(frozen=True)
class Samples:
    """of: `(samples,)`, the unit whose user, session, query, time and history each one has."""

    log: EventLog
    sessions: Sessions
    units: Units
    histories: Histories
    texts: list[str | None]
    of: Codes
    item: Codes
    behavior: Codes
    side: Codes
    ids: list[str]
    left_out: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.of)

    def rows(self, start: int, stop: int, task: Task, params: LabelParams, max_chars: int) -> list[SampleRow]:
        """Samples `start` … `stop` − 1."""
        rows: list[SampleRow] = []
        unit = -1
        for place in range(start, min(stop, len(self))):
            if unit != self.of[place]:  # a unit and what was drawn for it follow each other
                unit = int(self.of[place])
                context = self._context(unit, max_chars)
            rows.append(self._row(place, context, task, params))
        return rows

    def label(self, place: int, task: Task, params: LabelParams) -> Label:
        code = int(self.behavior[place])
        if task is Task.CLASSIFICATION:
            return NO_BEHAVIOR if code == UNTOUCHED else BEHAVIORS[code].value
        if code == UNTOUCHED or (params.negatives == "impressions" and code == VIEW):
            return 0
        return params.grades.of(BEHAVIORS[code])

    def labels(self, task: Task, params: LabelParams) -> Counter[Label]:
        """Samples by label."""
        counts: Counter[Label] = Counter()
        codes, first, number = np.unique(self.behavior, return_index=True, return_counts=True)
        for place, count in zip(first.tolist(), number.tolist(), strict=True):
            counts[self.label(place, task, params)] += count
        return counts if len(codes) else Counter()

    def splits(self) -> dict[str, int]:
        return {split.value: int((self.side == code).sum()) for code, split in enumerate(SPLITS)}

    def _context(self, unit: int, max_chars: int) -> _Context:
        query = int(self.units.query[unit])
        user = self.log.users[int(self.units.user[unit])]
        return _Context(
            text=(self.log.queries[query] if query >= 0 else self._history(unit))[:max_chars],
            group=self._group(int(self.units.session[unit]), query, user),
            user=user,
            timestamp=_rfc3339(int(self.units.first[unit])),
        )

    def _row(self, place: int, context: _Context, task: Task, params: LabelParams) -> SampleRow:
        code = int(self.behavior[place])
        return SampleRow(
            id=self.ids[place],
            text=context.text,
            text_pair=self.texts[int(self.item[place])],
            label=self.label(place, task, params),
            group=context.group,
            split=SPLITS[int(self.side[place])].value,
            meta={
                "user": context.user,
                "timestamp": context.timestamp,
                "behavior": NO_BEHAVIOR if code == UNTOUCHED else BEHAVIORS[code].value,
            },
        )

    def _history(self, unit: int) -> str:
        found = (self.texts[item] for item in self.histories.newest_first(unit))
        return BETWEEN_TEXTS.join(text for text in found if text is not None)

    def _group(self, session: int, query: int, user: str) -> str:
        """The session; with a query, what was searched for in this session: another one is another list."""
        digest = _digest([user, self.sessions.names[session]], "session").hex()
        if query < 0:
            return digest
        return f"{self.log.queries[query][:QUERY_CHARS_IN_GROUP]} @{digest[:16]}"


def label_events(
    log: EventLog,
    texts: Mapping[str, str],
    params: LabelParams,
    on_step: Callable[[], None] = lambda: None,
) -> Samples:
    """Samples of a cleaned log.

    texts: of items. on_step: called between steps.
    """
    acts = log.only(log.behavior != CANCEL)
    sessions = number_sessions(acts, params.session_gap_minutes)
    query = attributed_queries(acts, sessions)
    cuts = cuts_of(params, sessions)
    undone = taken_back(log, cuts)[log.behavior != CANCEL]
    on_step()
    units = make_units(acts, sessions, query, undone, params.grades)
    item_texts = [texts.get(name) for name in log.items]
    with_text = np.array([bool(text) for text in item_texts], dtype=bool)
    behaviors = np.array([BEHAVIORS.index(behavior) for behavior in params.history_of()])
    past = histories(
        acts, sessions, units, behaviors=behaviors, with_text=with_text, length=params.history_length
    )
    on_step()
    sides = cuts.sides(sessions)[units.session]
    chosen, left_out = _usable(units, past, sides, with_text)
    units, past, sides = units.only(chosen), past.only(chosen), sides[chosen]
    names = list(unit_digests(acts, sessions, units.session, units.query, units.item))
    digests = np.frombuffer(b"".join(name[:8] for name in names), dtype="<u8").astype(np.uint64)
    on_step()
    grades = np.array([params.grades.of(behavior) for behavior in BEHAVIORS])
    own, drawn = _choose(log, sessions, units, digests, with_text, grades, params)
    of = np.concatenate((own, drawn.of))
    item = np.concatenate((units.item[own], drawn.item))
    behavior = np.concatenate((units.behavior[own], np.full(len(drawn.of), UNTOUCHED)))
    order = np.lexsort((item, behavior == UNTOUCHED, of))  # a negative follows the unit it was drawn for
    order = order[_within(units.session[of[order]], acts, sessions, params)]
    of, item, behavior = of[order], item[order], behavior[order]
    on_step()
    return Samples(
        log=acts,
        sessions=sessions,
        units=units,
        histories=past,
        texts=item_texts,
        of=of,
        item=item,
        behavior=behavior,
        side=sides[of],
        ids=list(_ids(acts, sessions, units, of, item)),
        left_out=left_out,
    )


def _usable(
    units: Units, past: Histories, sides: NDArray[np.int64], with_text: Mask
) -> tuple[Mask, dict[str, int]]:
    """Units that become samples, and for each reason how many do not."""
    straddling = sides == STRADDLES
    textless = ~straddling & ~with_text[units.item]
    nothing_before = ~straddling & ~textless & (units.query < 0) & (past.start == past.end)
    counts = {
        "across_a_cut": int(straddling.sum()),
        "items_without_text": int(textless.sum()),
        "without_query_or_history": int(nothing_before.sum()),
    }
    return ~(straddling | textless | nothing_before), counts


def _choose(
    log: EventLog,
    sessions: Sessions,
    units: Units,
    digests: Digests,
    with_text: Mask,
    grades: NDArray[np.float64],
    params: LabelParams,
) -> tuple[Codes, Negatives]:
    """Units that become samples by themselves, and what is drawn for them."""
    nothing = Negatives(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    wanted = grades[units.behavior] > 0
    each = params.negatives_per_positive
    if params.negatives == "impressions":
        viewed = units.behavior == VIEW
        shown = impressions(units, viewed, wanted & ~viewed, digests, each)
        return np.sort(np.concatenate((np.flatnonzero(~viewed), shown))), nothing
    if params.negatives == "none":
        return np.arange(len(units)), nothing
    drawn = sampled(
        log,
        sessions,
        units,
        np.flatnonzero(wanted),
        digests,
        with_text=with_text,
        each=each,
        seed=params.seed,
    )
    return np.arange(len(units)), drawn


def _within(session: Codes, log: EventLog, sessions: Sessions, params: LabelParams) -> Mask:
    """Samples of the sessions that are drawn, as many whole ones as fit. session: of each sample."""
    if params.max_samples is None or len(session) <= params.max_samples:
        return np.ones(len(session), dtype=bool)
    present, sizes = np.unique(session, return_counts=True)
    ranks = [
        _digest([params.seed, log.users[int(sessions.user[number])], sessions.names[number]], "draw")
        for number in present.tolist()
    ]
    order = np.array(sorted(range(len(present)), key=ranks.__getitem__))
    drawn = present[order[np.cumsum(sizes[order]) <= params.max_samples]]
    return np.isin(session, drawn)


def _ids(log: EventLog, sessions: Sessions, units: Units, of: Codes, item: Codes) -> Iterator[str]:
    digests = unit_digests(log, sessions, units.session[of], units.query[of], item)
    for user, digest in zip(units.user[of].tolist(), digests, strict=True):
        yield f"{EVENT_SAMPLES}{log.users[user]}:{digest.hex()}"


def _digest(values: list[object], purpose: str) -> bytes:
    return blake2b(msgspec.json.encode(values), digest_size=16, person=purpose.encode()).digest()


def _rfc3339(at: int) -> str:
    moment = datetime.fromtimestamp(at / 1_000_000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
