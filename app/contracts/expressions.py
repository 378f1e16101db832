"""Which samples: `core`, `core+edge`, `full`, `random:core`."""

from __future__ import annotations

from dataclasses import dataclass

FULL = "full"
OF_IDS = "ids"
NAMED_SETS = ("core", "edge", "noise", "unscored")
_RANDOM = "random:"


@dataclass(frozen=True)
class SetExpression:
    """names: of sets; none: all train samples, or those of a list of ids. random: as many as they are, drawn
    from all."""

    names: frozenset[str]
    random: bool
    of_ids: bool = False

    @property
    def needs_version(self) -> bool:
        return bool(self.names)


def read_set_expression(text: str) -> SetExpression:
    """Raises ValueError, with what may be said."""
    random = text.startswith(_RANDOM)
    rest = text.removeprefix(_RANDOM)
    if rest == FULL:
        return SetExpression(frozenset(), random)
    if rest == OF_IDS and not random:
        return SetExpression(frozenset(), random, of_ids=True)
    names = rest.split("+")
    unknown = [name for name in names if name not in NAMED_SETS]
    if unknown or len(set(names)) < len(names):
        raise ValueError(
            f"{text!r} is no choice of samples: name core, edge, noise or unscored, several of them with +, "
            "or full, with random: before it for as many random ones"
        )
    return SetExpression(frozenset(names), random)
