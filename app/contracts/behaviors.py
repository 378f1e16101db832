"""What users do with items, under one name each."""

from __future__ import annotations

from enum import StrEnum


class Behavior(StrEnum):
    """From the weakest sign of interest to the strongest; `cancel` takes a purchase back."""

    VIEW = "view"
    CLICK = "click"
    CART = "cart"
    BUY = "buy"
    CANCEL = "cancel"


BEHAVIORS = tuple(Behavior)
"""The position of a behaviour is its code in arrays; among equal grades the later one is the stronger."""
EVENT_SAMPLES = "event:"
"""How the ids of samples begin that a label job made of events; the hash of the user follows."""
