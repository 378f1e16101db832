"""Takes out of a text what names a person by number or address: e-mail, telephone, identity, card, IBAN.

One pass for each kind, the stricter checks first; what one pass took the next ones do not see. Every pattern
is bounded in length, so time is linear in the text, whatever it holds. Masking twice is masking once:
what stands beside a mask is judged as if the number were still there, and where one number touches another,
the text is gone through again.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from app.ingest.identifying_numbers import KINDS, Kind


@dataclass(frozen=True)
class Masked:
    """A text without what was found in it, and how many: of `email`, `phone`, `id`, `card` and `iban`."""

    text: str
    counts: dict[str, int] = field(default_factory=dict)


class _Span(NamedTuple):
    start: int
    stop: int
    kind: str


def _plain_characters() -> dict[int, str]:
    """Character for character: full-width forms, the digits of other scripts, dashes and wide spaces."""
    plain = {0xFF01 + at: chr(0x21 + at) for at in range(94)}
    for code in range(0x80, sys.maxunicode + 1):
        digit = unicodedata.decimal(chr(code), None)
        if digit is not None:
            plain[code] = str(int(digit))
    return plain | dict.fromkeys(map(ord, "‐‑‒–—−"), "-") | dict.fromkeys(map(ord, "\u3000\u00a0\u202f"), " ")


_PLAIN = _plain_characters()
_SEVEN_DIGITS = re.compile(r"\d(?:\D{0,3}\d){6}")
"""What every number that is masked has in it; most texts have no such thing."""
_LOCAL_PART = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+~-"
_DOMAIN = re.compile(r"(?:[A-Za-z0-9-]{1,63}\.){1,8}(?:xn--[a-z0-9-]{2,59}|[A-Za-z]{2,24})")


def mask_text(text: str) -> Masked:
    """The text with `[EMAIL]`, `[PHONE]`, `[ID]`, `[CARD]` and `[IBAN]` in place of what they name."""
    counts: Counter[str] = Counter()
    while spans := _spans(text):
        counts.update(span.kind for span in spans)
        text = _replaced(text, spans)
    return Masked(text, dict(counts))


def _spans(text: str) -> list[_Span]:
    has_at = "@" in text or "＠" in text
    if not has_at and _SEVEN_DIGITS.search(text) is None:
        return []
    plain = text if text.isascii() else text.translate(_PLAIN)
    spans: list[_Span] = []
    if has_at:
        spans += _emails(plain)
        plain = _blanked(plain, spans)
    if _SEVEN_DIGITS.search(plain):
        for kind in KINDS:
            found = list(_numbers(kind, plain))
            plain = _blanked(plain, found)
            spans += found
    return sorted(spans)


def mask_meta(meta: Mapping[str, object]) -> tuple[dict[str, object], Counter[str]]:
    """String values masked; names and numbers as they are."""
    counts: Counter[str] = Counter()
    masked = dict(meta)
    for name, value in meta.items():
        if isinstance(value, str):
            one = mask_text(value)
            masked[name] = one.text
            counts.update(one.counts)
    return masked, counts


def _emails(plain: str) -> Iterator[_Span]:
    """From each @ outwards: a search for what may come before one would be quadratic."""
    done = 0
    at = plain.find("@")
    while at >= 0:
        domain = _DOMAIN.match(plain, at + 1)
        before = plain[done:at]
        start = done + len(before.rstrip(_LOCAL_PART))
        done = at + 1
        if domain is not None and start < at:
            done = domain.end()
            yield _Span(start, done, "email")
        at = plain.find("@", done)


def _numbers(kind: Kind, plain: str) -> Iterator[_Span]:
    at = 0
    while match := kind.pattern.search(plain, at):
        stop = kind.end_of(match)
        if stop is None:
            at = match.start() + 1
        else:
            at = stop
            yield _Span(match.start(), stop, kind.name)


def _blanked(plain: str, spans: Sequence[_Span]) -> str:
    """The same length, with something in place of the spans that looks to the patterns like the mask."""
    if not spans:
        return plain
    parts, done = [], 0
    for start, stop, kind in spans:
        name = kind.upper()
        parts += [plain[done:start], f"[{name[:2]}".ljust(stop - start - 2, "_"), name[-1], "]"]
        done = stop
    return "".join([*parts, plain[done:]])


def _replaced(text: str, spans: Sequence[_Span]) -> str:
    parts, done = [], 0
    for start, stop, kind in spans:
        parts += [text[done:start], f"[{kind.upper()}]"]
        done = stop
    return "".join([*parts, text[done:]])
