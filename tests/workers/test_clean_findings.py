"""What is found in single rows, and in a table whatever the order of its rows."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.flags import BIT_OF_FLAG, SampleFlag, bits_of, flags_of
from app.contracts.params import CleanParams
from app.store.samples import SCHEMA
from workers.clean.checks import RowChecks
from workers.clean.findings import COLUMNS, Findings, find
from workers.clean.telling import examples
from workers.clean.words import visible, words

CHECKS = RowChecks(CleanParams(), frozenset({"a", "b"}))
F = SampleFlag
SPLITS = ("train", "validation", "test")


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("a plain text", set()),
        ("two\nlines\tand a tab\r\n", set()),
        ("naïve café", set()),
        ("nai\u0308ve cafe\u0301", {F.NOT_NORMALISED}),
        ("zero\u200bwidth", {F.NOT_NORMALISED}),
        ("\u202eright to left", {F.NOT_NORMALISED}),
        ("bell\x07", {F.NOT_NORMALISED}),
        ("soft\u00adhyphen", {F.NOT_NORMALISED}),
        ("👩\u200d💻 codes, می\u200cخواهم", set()),
        ("<b>bold</b> words", {F.HTML}),
        ("line<br/>break", {F.HTML}),
        ('<a href="x">link</a> text', {F.HTML}),
        ("<!-- none --> of it", {F.HTML}),
        ("Tom &amp; Jerry", {F.HTML}),
        ("5 &#215; 4 and &#x41;", {F.HTML}),
        ("a < b and b > c, I <3 it, <brand name>", set()),
        ("R&D; AT&T; x &nosuch; y", set()),
        ("<p>&nbsp;</p>", {F.HTML, F.EMPTY_TEXT}),
        ("\u200b\ufeff", {F.NOT_NORMALISED, F.EMPTY_TEXT}),
        ("x", {F.SHORT_TEXT}),
        ("x <br>", {F.SHORT_TEXT, F.HTML}),
        ("!?!?", {F.SHORT_TEXT}),
        ("很好", set()),
        ("好", {F.SHORT_TEXT}),
    ],
)
def test_a_single_text(text: str, flags: set[SampleFlag]) -> None:
    assert CHECKS.flags(text, None, "a") == flags
    assert CHECKS.flags("the query", text, None) == flags - {F.SHORT_TEXT}


def test_labels_outside_the_set() -> None:
    assert CHECKS.flags("some text", None, "c") == {F.UNKNOWN_LABEL}
    assert RowChecks(CleanParams(), None).flags("some text", None, "c") == set()


def test_words_of_scripts_without_spaces() -> None:
    assert words("iPhone12 很好用, ＡＢＣ! naïve_x") == ["iphone12", "很", "好", "用", "abc", "naïve", "x"]
    assert visible(" a\u200b  b\ufeff\n") == "a b"


def test_flags_keep_their_bits() -> None:
    """They stand in files: a flag may be added at the end only."""
    assert [flag.value for flag in flags_of(2**10 - 1)] == [
        *("exact_duplicate", "conflicting_label", "near_duplicate", "empty_text", "short_text"),
        *("not_normalised", "html", "unknown_label", "leak_text", "leak_group"),
    ]
    assert bits_of([F.EXACT_DUPLICATE, F.LEAK_GROUP]) == 1 | 2**9
    assert BIT_OF_FLAG[F.HTML] == 2**6


def found(rows: Iterable[dict[str, Any]]) -> tuple[Findings, pa.Table]:
    named = [{"ordinal": i, "generation": 0, "label_number": False, **row} for i, row in enumerate(rows)]
    table = pa.Table.from_pylist(named, schema=SCHEMA).select(list(COLUMNS))
    return find(table, CleanParams(), None, lambda *_: None), table


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 25))
def test_the_order_only_decides_which_is_later(seed: int, count: int) -> None:
    random = Random(seed)
    rows = [
        {
            "id": str(i),
            "text": random.choice(["one text", "one  text", "another text", "<b>third</b> one", "x"]),
            "text_pair": random.choice([None, "pair"]),
            "label": random.choice([None, "a", "b"]),
            "group": random.choice([None, "g", "h"]),
            "split": random.choice(SPLITS),
        }
        for i in range(count)
    ]
    shuffled = random.sample(rows, count)
    (before, _), (after, _) = found(rows), found(shuffled)
    for flag in SampleFlag:
        ours = {row["id"] for row, has in zip(rows, before.has(flag), strict=True) if has}
        theirs = {row["id"] for row, has in zip(shuffled, after.has(flag), strict=True) if has}
        if flag in (F.EXACT_DUPLICATE, F.NEAR_DUPLICATE):
            assert len(ours) == len(theirs)
        else:
            assert ours == theirs


def test_examples_show_what_is_wrong() -> None:
    text = "words " * 60
    rows = [
        {"id": "tag", "text": f"{text}<br>", "split": "train", "label": "a"},
        {"id": "bom", "text": f"\ufeff{text}", "split": "test", "label": "a"},
    ]
    shown = examples(found(rows)[1], found(rows)[0], 5)
    assert "<br>" in shown["html"][0]["text"]
    assert shown["html"][0]["text"].startswith("…")
    assert shown["html"][0]["of"] is None
    assert shown["not_normalised"][0]["text"].startswith("\\ufeffwords")
    assert not shown["leak_group"]
