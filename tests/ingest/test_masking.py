"""What is masked, what stays, and that neither long nor strange texts are a trouble."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ingest.masking import mask_meta, mask_text

# Numbers with check digits: published examples, of standards bodies, issuers' test pages and python-stdnum.
MASKED = [
    ("write to ann.o'neil+shop@mail.example.co.uk.", "write to ann.o'[EMAIL]."),
    ("邮箱abc_1@qq.com谢谢", "邮箱[EMAIL]谢谢"),
    ("ＣＨＵＮ２１９＠ＳＯＨＵ．ＣＯＭ", "[EMAIL]"),
    ("a@b.org/13812345678", "[EMAIL]/[PHONE]"),
    ("x@y.zz@w.com", "[EMAIL]@w.com"),
    ("电话13812345678联系", "电话[PHONE]联系"),
    ("手机：１３８１２３４５６７８。", "手机：[PHONE]。"),
    ("138-1234-5678 or 138 1234 5678", "[PHONE] or [PHONE]"),
    ("13812345678,13912345678", "[PHONE],[PHONE]"),
    ("+86 138 1234 5678", "[PHONE]"),
    ("0371-69575856, (010)51236699, 010-88210766-801", "[PHONE], [PHONE], [PHONE]"),
    ("电话86-0576-86972115", "电话[PHONE]"),
    ("call +44 20 7946 0958 or +1 (415) 555-2671!", "call [PHONE] or [PHONE]!"),
    ("0049 151 23456789", "[PHONE]"),
    ("(415) 555-2671, 415-555-2671, 415.555.2671, 1-800-555-0199", "[PHONE], [PHONE], [PHONE], [PHONE]"),
    ("06 12 34 56 78 / 06.12.34.56.78", "[PHONE] / [PHONE]"),
    ("020 7946 0958 / 07700 900123 / 07700900123", "[PHONE] / [PHONE] / [PHONE]"),
    ("030/1234567 und 0151 23456789", "[PHONE] und [PHONE]"),
    ("(11) 91234-5678", "[PHONE]"),
    ("03-1234-5678 090-1234-5678", "[PHONE] [PHONE]"),
    ("身份证11010519491231002X,", "身份证[ID],"),
    ("360426199101010071 / 360426 19910101 0071", "[ID] / [ID]"),
    ("old 360426910101007", "old [ID]"),
    ("SSN 536-90-4399", "SSN [ID]"),
    ("DNI 54362315K o 54362315-K, NIE X-2482300W", "DNI [ID] o [ID], NIE [ID]"),
    ("CF RCCMNL83S18D969H", "CF [ID]"),
    ("CPF 390.533.447-05", "CPF [ID]"),
    ("Aadhaar 2341 2341 2346", "Aadhaar [ID]"),
    ("2 95 10 99 126 111 93", "[ID]"),
    ("971013-9019902", "[ID]"),
    ("4111111111111111", "[CARD]"),
    ("4111-1111-1111-1111 exp 12/25", "[CARD] exp 12/25"),
    ("5555 5555 5555 4444", "[CARD]"),
    ("378282246310005 or 3782 822463 10005", "[CARD] or [CARD]"),
    ("30569309025904, 3056 930902 5904", "[CARD], [CARD]"),
    ("6011000990139424; 3530111333300000", "[CARD]; [CARD]"),
    ("GB82 WEST 1234 5698 7654 32 BIC ABCD", "[IBAN] BIC ABCD"),
    ("DE89370400440532013000.", "[IBAN]."),
    ("NL91 ABNA 0417 1643 00", "[IBAN]"),
    ("\u0968\u0969\u096a\u0967 \u0968\u0969\u096a\u0967 \u0968\u0969\u096a\u096c", "[ID]"),
]
STAY = [
    "",
    "Love it! 5'8\", 34-24-36, size 10-12, $1,299.99",
    "Simpson Strong-Tie 12-Gauge Angle, 2 in. x 4 in. x 96 in., 0.75 mm",
    "EAN 4006381333931 and GTIN 30012345678906",  # both also fit the form of a card
    "ISBN 978-3-16-148410-0, ISBN 0-306-40615-2, ISBN 0306406152",
    "UPC 036000291452",
    "SKU 84125-00010, model DCD771C2, part WDP540HAMZ0123",
    "2020-09-24 13:51:07+00:00, 24/09/2020, 01.02.2020 10:30, 20200924135107",
    "epoch 1606000000, 1606000000000 ms",
    "订单号：19513967161",
    "order #13812345678",
    "100-13812345678",
    "IMG_13812345678",
    "4111111111111112",  # not by Luhn
    "110105194912310021",  # check digit
    "360426911301007 is no date",
    "000-12-3456, 666-12-3456, 536-00-4399, 536-90-0000",
    "54362315A",
    "390.533.447-06",
    "2341 2341 2347",
    "GB82 WEST 1234 5698 7654 33",
    "10700000000000",
    "@home and user@localhost and a@b",
    "$13812345678",
    "3.14159265358979",
    "[EMAIL] [PHONE] [ID] [CARD] [IBAN]",
]
PIECES = st.sampled_from(
    [re.sub(r"\s+$", "", text) for text, _ in MASKED]
    + [text for text in STAY if text]
    + ["13812345678", "4111111111111111", "GB82WEST12345698765432", "54362315K", "+", "(", ")", "-", ".", "/"]
    + [" ", ",", "@", "a", "A", "x1", "0", "1", "8", "00", "[ID]", "[PHONE]", "[EMAIL]", "]", "[", "好", "\n"]
)
TEXTS = (
    st.text()
    | st.lists(PIECES, max_size=8).map("".join)
    | st.text("0123456789+-. ()/X@[]ＡＢ１２", max_size=60)
)


@pytest.mark.parametrize(("text", "masked"), MASKED)
def test_masked(text: str, masked: str) -> None:
    found = mask_text(text)
    assert found.text == masked
    names = re.findall(r"\[(EMAIL|PHONE|ID|CARD|IBAN)\]", masked)
    assert found.counts == {name.lower(): names.count(name) for name in names}


@pytest.mark.parametrize("text", STAY)
def test_stays(text: str) -> None:
    assert mask_text(text).text == text
    assert mask_text(text).counts == {}


@given(TEXTS)
def test_masking_twice_is_masking_once(text: str) -> None:
    once = mask_text(text)
    assert mask_text(once.text).text == once.text
    assert bool(once.counts) == (once.text != text)


@given(st.text().filter(lambda text: not re.search(r"[\d@＠]", text)))
def test_without_digits_and_at_signs_nothing_changes(text: str) -> None:
    assert mask_text(text).text == text


@given(st.text("abc好 ,。\n"), st.sampled_from(MASKED), st.text("abc好 ,。\n"))
def test_around_a_mask_the_text_stays(before: str, found: tuple[str, str], after: str) -> None:
    masked = mask_text(f"{before} {found[0]} {after}").text
    assert masked == f"{before} {found[1]} {after}"


@pytest.mark.parametrize(
    "piece",
    [
        "1", "12 ", "a", "a.", "@", "a@", "a@a.", "@a.a.a.a.a.a.a.a.", "+1", "+1 ", "0", "01 ", "(0", "00",
        "(", "+8613812345678DE89370400440532013000", "(11) 91234-5678", "13812345678+86 138 1234 5678",
        "DE89 ", "DE89", "AB12", "4111 ", "4111-", "1234.", "123-45-", "13812345678", "13812345678 ",
        "x@y.zz ", "4111111111111112 ", "54362315A ", "１", "好1", "[ID]", "06 12 34 56 7", "2341 2341 2347 ",
    ],
)  # fmt: skip
def test_time_is_linear_on_hostile_texts(piece: str) -> None:
    def seconds(length: int) -> float:
        text = (piece * (length // len(piece) + 1))[:length]
        began = time.perf_counter()
        mask_text(text)
        return time.perf_counter() - began

    short = min(seconds(4_000) for _ in range(3))
    long = min(seconds(32_000) for _ in range(2))
    assert long < 4 * 8 * short + 0.02


def test_meta_values_are_masked_where_they_are_text() -> None:
    meta, counts = mask_meta(
        {"mail": "a@b.org", "phone": 13812345678, "at": "2010-12-01 08:34:00", "none": None}
    )
    assert meta == {"mail": "[EMAIL]", "phone": 13812345678, "at": "2010-12-01 08:34:00", "none": None}
    assert counts == {"email": 1}
