"""What a user did with an item in a session, for a query: one unit, graded by the strongest behaviour."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from hashlib import blake2b

import msgspec
import numpy as np

from app.contracts.behaviors import BEHAVIORS, Behavior
from app.contracts.params.labelling import Grades
from workers.label.event_log import CANCEL, Codes, EventLog, Mask
from workers.label.sessions import Sessions


@dataclass(frozen=True)
class Units:
    """Ordered by user, time, session, query and item. Arrays are `(units,)`."""

    user: Codes
    session: Codes
    query: Codes
    item: Codes
    first: Codes
    """When the user first met the item in this session: a history ends before."""
    behavior: Codes
    """The strongest one; CANCEL where nothing is left but purchases that were taken back."""

    def __len__(self) -> int:
        return len(self.first)

    def only(self, chosen: Mask | Codes) -> Units:
        return replace(self, **{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def make_units(log: EventLog, sessions: Sessions, query: Codes, undone: Mask, grades: Grades) -> Units:
    """log: without cancels. query: of each event. undone: purchases that were taken back."""
    by_strength = strengths(grades)
    strength = np.argsort(by_strength)[np.where(undone, CANCEL, log.behavior)]
    order = np.lexsort((log.item, query, sessions.of_event))
    begins = np.zeros(len(order), dtype=bool)
    begins[:1] = True
    for column in (log.item[order], query[order], sessions.of_event[order]):
        begins[1:] |= column[1:] != column[:-1]
    starts = np.flatnonzero(begins)
    one = order[starts]
    units = Units(
        user=log.user[one],
        session=sessions.of_event[one],
        query=query[one],
        item=log.item[one],
        first=np.minimum.reduceat(log.at[order], starts),
        behavior=by_strength[np.maximum.reduceat(strength[order], starts)],
    )
    return units.only(np.lexsort((units.item, units.query, units.session, units.first, units.user)))


def strengths(grades: Grades) -> Codes:
    """The codes of the behaviours from the weakest to the strongest: by grade, then by their order; a
    purchase that was taken back is the weakest of its grade."""

    def order(code: int) -> tuple[float, int]:
        behavior = BEHAVIORS[code]
        return grades.of(behavior), -1 if behavior is Behavior.CANCEL else code

    return np.array(sorted(range(len(BEHAVIORS)), key=order), dtype=np.int64)


def unit_digests(
    log: EventLog, sessions: Sessions, session: Codes, query: Codes, item: Codes
) -> Iterable[bytes]:
    """16 bytes for each, the same in every run: of user, session, query and item."""
    names = [[log.users[user], name] for user, name in zip(sessions.user, sessions.names, strict=True)]
    queries = [*log.queries, None]  # what -1 finds
    encode = msgspec.json.Encoder().encode
    for of_session, of_query, of_item in zip(session.tolist(), query.tolist(), item.tolist(), strict=True):
        content = encode([*names[of_session], queries[of_query], log.items[of_item]])
        yield blake2b(content, digest_size=16, person=b"unit").digest()
