"""Which samples: `core`, `core+edge`, `full`, `random:core`, and of which version: `core@3`."""

from __future__ import annotations

import re
from dataclasses import dataclass

FULL = "full"
OF_IDS = "ids"
NAMED_SETS = ("core", "edge", "noise", "unscored")
_RANDOM = "random:"
_FORM = re.compile(r"(?P<random>random:)?(?P<what>[a-z+]+)(?:@(?P<version>[1-9][0-9]{0,9}))?")


@dataclass(frozen=True)
class SetExpression:
    """names: of sets; none: all train samples, or those of a list of ids. random: as many as they are, drawn
    from all. version: of the sets, None where it is not said."""

    names: frozenset[str]
    random: bool = False
    version: int | None = None
    of_ids: bool = False

    @property
    def needs_version(self) -> bool:
        return bool(self.names) and self.version is None


def read_set_expression(text: str) -> SetExpression:
    """Raises ValueError, with what may be said."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise _unreadable(text)
    random, what = found["random"] is not None, found["what"]
    version = None if found["version"] is None else int(found["version"])
    if what == FULL and version is None:
        return SetExpression(frozenset(), random)
    if what == OF_IDS and not random and version is None:
        return SetExpression(frozenset(), of_ids=True)
    names = what.split("+")
    if len(set(names)) < len(names) or not set(names) <= set(NAMED_SETS):
        raise _unreadable(text)
    return SetExpression(frozenset(names), random, version)


def as_many_at_random(text: str) -> str:
    """The control of a choice of samples."""
    return f"{_RANDOM}{text}"


def of_version(text: str, version: int) -> str:
    """The same choice, of sets of this version."""
    return f"{text}@{version}"


def _unreadable(text: str) -> ValueError:
    return ValueError(
        f"{text!r} is no choice of samples: name core, edge, noise or unscored, or several of them with +, "
        "and a version with @ behind them, or full; random: before it means as many random samples"
    )
