"""What can be said of a sample by itself."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container
from html import unescape
from html.entities import html5

from app.contracts.flags import SampleFlag
from app.contracts.params import CleanParams
from workers.clean.words import INVISIBLE, visible, words

# Elements that texts from web pages carry. Not any word in angle brackets: that may be meant.
_TAGS = (
    "a|abbr|address|article|aside|audio|b|big|blockquote|body|br|button|caption|center|code|col|dd|del|div|dl|dt|"
    "em|figure|font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|label|li|link|main|meta|nav|ol|"
    "option|p|pre|s|script|section|select|small|span|strike|strong|style|sub|sup|svg|table|tbody|td|textarea|"
    "tfoot|th|thead|title|tr|u|ul|video"
)
TAG = re.compile(rf"</?(?:{_TAGS})(?:\s[^<>]*)?/?>|<!--.*?-->|<!doctype[^<>]*>", re.IGNORECASE | re.DOTALL)
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")


class RowChecks:
    """labels: canonical texts of those that the dataset has; None while they are open."""

    def __init__(self, params: CleanParams, labels: Container[str] | None) -> None:
        self._params = params
        self._labels = labels

    def flags(self, text: str, text_pair: str | None, label: str | None) -> set[SampleFlag]:
        found = set()
        both = (text,) if text_pair is None else (text, text_pair)
        plain = [without_html(one) for one in both]
        if not all(plain):
            found.add(SampleFlag.EMPTY_TEXT)
        elif self._is_short(plain[0]):
            found.add(SampleFlag.SHORT_TEXT)
        if any(first_oddity(one) is not None for one in both):
            found.add(SampleFlag.NOT_NORMALISED)
        if any(first_html(one) is not None for one in both):
            found.add(SampleFlag.HTML)
        if label is not None and self._labels is not None and label not in self._labels:
            found.add(SampleFlag.UNKNOWN_LABEL)
        return found

    def _is_short(self, plain: str) -> bool:
        if len(plain) - plain.count(" ") < self._params.min_chars:
            return True
        return len(words(plain)) < self._params.min_words


def without_html(text: str) -> str:
    """What a reader would see of it."""
    if "<" in text:
        text = TAG.sub(" ", text)
    return visible(unescape(text) if "&" in text else text)


def first_oddity(text: str) -> int | None:
    """Where the text is not as Unicode would write it: a character that nobody sees, or not in NFC."""
    found = INVISIBLE.search(text)
    if found is not None:
        return found.start()
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return None
    normal = unicodedata.normalize("NFC", text)
    return next((i for i, (ours, theirs) in enumerate(zip(text, normal, strict=False)) if ours != theirs), 0)


def first_html(text: str) -> int | None:
    """Where a tag or a character reference stands."""
    if "<" in text and (tag := TAG.search(text)) is not None:
        return tag.start()
    if "&" not in text:
        return None
    named = (one for one in ENTITY.finditer(text) if one[0][1] == "#" or one[0][1:] in html5)
    return next((one.start() for one in named), None)
