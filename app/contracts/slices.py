"""By what a comparison is sliced: `label`, `group_size`, `meta.<field>`."""

from __future__ import annotations

LABEL = "label"
GROUP_SIZE = "group_size"
META = "meta."


def meta_field(text: str) -> str | None:
    """The field that a slice is by; None where it is by something else."""
    return text.removeprefix(META) if text.startswith(META) else None


def check_slice(text: str) -> str:
    """The same text. Raises ValueError, with what may be said."""
    if text not in (LABEL, GROUP_SIZE) and not meta_field(text):
        raise ValueError(
            f"{text!r} is nothing to slice by: name {LABEL}, {GROUP_SIZE}, or {META} and a field of the "
            f"samples' meta, as in {META}brand"
        )
    return text
