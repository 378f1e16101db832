"""Texts as they are compared: what is visible of them, and their words."""

from __future__ import annotations

import re
import unicodedata

# Control characters but tab and line ends, soft hyphens, zero-width spaces, bidirectional controls, byte
# order marks. Not the joiners U+200C and U+200D: emoji, Persian and Indic scripts are written with them.
INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
)
# Scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana, Han.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")
_BETWEEN_WORDS = re.compile(r"[\W_]+")


def visible(text: str) -> str:
    """In NFC, without invisible characters, and one space for any white space."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join(INVISIBLE.sub("", text).split())


def words(text: str) -> list[str]:
    """Words in their order; where a script has no spaces, each character is one. Case and width are gone."""
    return _WORD.findall(folded(text))


def bare(text: str) -> str:
    """The text with one space for whatever stands between words. Case and width are gone."""
    return _BETWEEN_WORDS.sub(" ", folded(text)).strip()


def folded(text: str) -> str:
    text = INVISIBLE.sub("", text)
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold()
