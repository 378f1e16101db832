"""The forms of numbers that name a person, and the checks that tell them from product and order numbers.

Check digits are those of python-stdnum. A form that has none is taken only where its punctuation is telling.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from stdnum import ean, iban, luhn, numdb
from stdnum.br import cpf
from stdnum.cn import ric
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.in_ import aadhaar
from stdnum.it import codicefiscale
from stdnum.kr import rrn
from stdnum.us import itin, ssn

# A number is not part of a word, an amount or a longer number; nor of one that was masked already, else
# masking twice would take what masking once left.
_LEFT = r"(?:(?<![0-9A-Za-z_#$€£¥])(?<![0-9][-.])(?<![DEN]\][-.])|(?=\())"
_RIGHT = r"(?![0-9A-Za-z_])(?![-.][0-9])(?![-.]\[(?:ID|PH|CA|IB))"


@dataclass(frozen=True)
class Kind:
    """One form of number: how it is written, and where one that begins as written ends."""

    name: str
    pattern: re.Pattern[str]
    end_of: Callable[[re.Match[str]], int | None]
    """None where it is none after all."""


def _kind(name: str, form: str, check: Callable[[str], bool] = lambda _: True) -> Kind:
    def end_of(match: re.Match[str]) -> int | None:
        return match.end() if check(match.group()) else None

    return Kind(name, re.compile(f"{_LEFT}(?:{form}){_RIGHT}"), end_of)


def _digits(number: str) -> str:
    return re.sub(r"[^0-9]", "", number)


def _iban_end(match: re.Match[str]) -> int | None:
    """The country says how long it is: words in capitals may follow."""
    missing = _iban_length(match.group()[:2])
    stop = match.start()
    for stop in range(match.start(), match.end()):
        missing -= match.string[stop] != " "
        if missing == 0:
            break
    stop += 1
    whole = missing == 0 and not match.string[stop : stop + 1].isalnum()
    return stop if whole and iban.is_valid(match.string[match.start() : stop]) else None


@lru_cache
def _iban_length(country: str) -> int:
    """0 where the country has no IBAN."""
    known = numdb.get("iban").info(country)[0][1].get("bban")
    return 0 if known is None else 4 + sum(map(int, re.findall(r"\d+", known)))


def _is_card(number: str) -> bool:
    digits = _digits(number)
    if len(digits) < 15 and ean.is_valid(digits):
        return False  # the bar code of a product
    return luhn.is_valid(digits)


def _is_chinese_id(number: str) -> bool:
    return ric.is_valid(re.sub("[ -]", "", number))


def _is_old_chinese_id(number: str) -> bool:
    return _is_date(1900 + int(number[6:8]), int(number[8:10]), int(number[10:12]))


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        return date(year, month, day) is not None
    except ValueError:
        return False


def _chinese_mobile_end(match: re.Match[str]) -> int | None:
    """Order numbers have the same form; the words before them say so."""
    before = match.string[max(0, match.start() - 6) : match.start()]
    return None if any(word in before for word in ("单号", "编号", "货号", "條碼", "条码")) else match.end()


def _is_phone_length(number: str) -> bool:
    return 9 <= len(_digits(number)) <= 12


_CARD_FORMS = (
    r"4\d{12}|4\d{15}|4\d{18}",
    r"(?:5[1-5]|2[2-7]|6\d|35|50|5[6-8])\d{14}",
    r"(?:34|37)\d{13}|3(?:0[0-5]|[689]\d)\d{11}",
    r"(?:62|60|63|65|67)\d{15,17}",
    r"[2-6]\d{3}(?P<sep4>[ -])\d{4}(?P=sep4)\d{4}(?P=sep4)\d{4}(?:(?P=sep4)\d{3})?",
    r"3[47]\d\d(?P<sep6>[ -])\d{6}(?P=sep6)\d{5}|3[0689]\d\d(?P<sep5>[ -])\d{6}(?P=sep5)\d{4}",
)
_PROVINCES = "1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]"

KINDS = (
    Kind("iban", re.compile(_LEFT + r"[A-Z]{2}\d\d(?: ?[A-Z0-9]){11,30}"), _iban_end),
    _kind("id", r"[1-8]\d{5}(?P<sep>[ -]?)(?:19|20)\d{6}(?P=sep)\d{3}[0-9Xx]", _is_chinese_id),
    _kind("id", rf"(?:{_PROVINCES})\d{{13}}", _is_old_chinese_id),
    _kind("id", r"[A-Za-z]{6}\d\d[A-Za-z]\d\d[A-Za-z]\d{3}[A-Za-z]", codicefiscale.is_valid),
    _kind("id", r"\d{8}-?[A-Z]", dni.is_valid),
    _kind("id", r"[XYZ]-?\d{7}-?[A-Z]", nie.is_valid),
    _kind("id", r"\d{3}\.\d{3}\.\d{3}-\d\d", cpf.is_valid),
    _kind("id", r"\d{3}-\d\d-\d{4}", lambda number: ssn.is_valid(number) or itin.is_valid(number)),
    _kind("id", r"[2-9]\d{3}(?P<sep>[ -])\d{4}(?P=sep)\d{4}", aadhaar.is_valid),
    _kind("id", r"[12] ?\d\d ?(?:0[1-9]|1[0-2]) ?\d[0-9AB] ?\d{3} ?\d{3} ?\d\d", nir.is_valid),
    _kind("id", r"\d\d(?:0[1-9]|1[0-2])[0-3]\d-[0-9]\d{6}", rrn.is_valid),
    *(_kind("card", form, _is_card) for form in _CARD_FORMS),
    # With a country code.
    Kind("phone", re.compile(r"\+ ?[1-9](?:[ .\-()/]{0,2}\d){7,14}(?!\d)"), lambda match: match.end()),
    _kind("phone", r"00[1-9]\d{0,2}[ \-/.(](?:[ .\-()/]{0,2}\d){7,12}"),
    # Chinese: mobile, and landline with its extension.
    Kind(
        "phone",
        re.compile(rf"{_LEFT}(?:86[ -]?)?1[3-9]\d(?P<sep>[ -]?)\d{{4}}(?P=sep)\d{{4}}{_RIGHT}"),
        _chinese_mobile_end,
    ),
    _kind("phone", r"(?:86-)?\(?0(?:10|2\d|[3-9]\d\d)(?:\) ?|[ -])[2-8]\d{6,7}(?:-\d{1,5})?"),
    # North American; French; Brazilian; Japanese, Korean, British, German and others with a leading 0.
    _kind("phone", r"(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d(?=[.\- ]))(?P<sep>[.\- ]?)[2-9]\d\d[.\- ]\d{4}"),
    _kind("phone", r"0[1-9](?P<sep>[ .-])\d\d(?:(?P=sep)\d\d){3}"),
    _kind("phone", r"\(\d\d\) ?(?:9 ?)?\d{4}-\d{4}"),
    _kind("phone", r"0[1-9]\d{1,4}[ \-/]{1,2}\d{3,8}(?:[ -]\d{3,8}){0,2}", _is_phone_length),
    _kind("phone", r"\(0[1-9]\d{0,4}\)[ -]?\d{3,8}(?:[ -]\d{3,8}){0,2}", _is_phone_length),
    _kind("phone", r"0[1-9]-\d{4}-\d{4}|07\d{9}|01[567]\d{9}"),
)
"""In the order in which they are looked for."""
