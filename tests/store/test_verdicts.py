"""Verdicts in force: the arrays against a plain replay, and what they say of contents."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from app.contracts import Verdict
from app.store.review_log import SCHEMA, VERDICT_CODES, Review, standing
from app.store.samples import StoredLabel
from app.store.verdicts import verdicts_in_force

AT = datetime(2026, 1, 1, tzinfo=UTC)
CORRECT, WRONG, UNSURE = (VERDICT_CODES[verdict] for verdict in Verdict)


def a_review(verdict: Verdict | None, generation: int = 0, **given: object) -> Review:
    first = Review(AT, 0, generation, verdict, "s", StoredLabel("x", number=False))
    return replace(first, **given)  # type: ignore[arg-type]


def table(reviews: list[Review]) -> pa.Table:
    return pa.Table.from_pylist([review.row() for review in reviews], schema=SCHEMA)


class Sample:
    """What a dataset would hold of one sample, and the truth about its verdicts, kept as contents."""

    def __init__(self, ordinal: int) -> None:
        self.ordinal = ordinal
        self.generation = 0
        self.content: tuple[int, str] = (0, "x")  # the text's number, and the label
        self.log: list[Review] = []
        self.verdicts: list[tuple[Review, tuple[int, str]]] = []  # and the content that each holds for

    def change(self, content: tuple[int, str]) -> None:
        self.generation += 1
        self.content = content


def histories(seed: int, samples: int, steps: int) -> tuple[list[Review], list[Sample]]:
    """Reviews of many samples, mixed, by the rules of the service."""
    turn = random.Random(seed)
    held = [Sample(number * 3) for number in range(samples)]
    log: list[Review] = []

    def add(sample: Sample, review: Review) -> Review:
        numbered = replace(review, sequence=len(log) + 1, ordinal=sample.ordinal)
        log.append(numbered)
        sample.log.append(numbered)
        return numbered

    for _ in range(steps):
        sample = turn.choice(held)
        label = StoredLabel(sample.content[1], number=False)
        what = turn.randrange(6)
        if what == 0:  # the client sends other content, which never comes again
            sample.change((sample.content[0] + 100, turn.choice("xyz")))
        elif what == 1 and sample.verdicts:
            taken, _ = sample.verdicts.pop()
            back = None
            if taken.new_label is not None and taken.new_label == label:
                back = taken.label
            add(sample, a_review(None, sample.generation, label=label, new_label=back, undoes=taken.sequence))
            if back is not None:
                sample.change((sample.content[0], back.text))
        elif what == 2:
            new = StoredLabel(turn.choice([c for c in "xyz" if c != label.text]), number=False)
            made = add(sample, a_review(Verdict.WRONG, sample.generation, label=label, new_label=new))
            sample.change((sample.content[0], new.text))
            sample.verdicts.append((made, sample.content))
        elif what > 2:
            verdict = turn.choice(list(Verdict))
            made = add(sample, a_review(verdict, sample.generation, label=label))
            sample.verdicts.append((made, sample.content))
    return log, held


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(0, 60))
def test_the_arrays_are_what_a_replay_of_each_sample_gives(seed: int, samples: int, steps: int) -> None:
    log, held = histories(seed, samples, steps)
    found = verdicts_in_force(table(log))
    wanted = [(sample.ordinal, standing(sample.log)) for sample in held]
    left = [(ordinal, one) for ordinal, one in wanted if one is not None]
    assert found.ordinals.tolist() == [ordinal for ordinal, _ in left]
    assert found.generations.tolist() == [one.generation for _, one in left]
    assert found.codes.tolist() == [one.review.row()["verdict"] for _, one in left]
    assert found.labels_before.tolist() == [one.review.row()["label"] for _, one in left]
    assert found.labels_after.tolist() == [one.review.row()["new_label"] for _, one in left]


@given(st.integers(0, 10**6), st.integers(0, 40))
def test_a_verdict_is_in_force_while_the_sample_has_its_content(seed: int, steps: int) -> None:
    _, held = histories(seed, 3, steps)
    for sample in held:
        found = standing(sample.log)
        if not sample.verdicts:
            assert found is None
            continue
        assert found is not None
        review, content = sample.verdicts[-1]
        assert found.review == review
        assert (found.generation == sample.generation) is (content == sample.content)


def test_what_reviewers_say_of_contents() -> None:
    y = StoredLabel("y", number=False)
    log = [
        a_review(Verdict.CORRECT, ordinal=2, sequence=1),
        a_review(Verdict.WRONG, ordinal=5, sequence=2),
        a_review(Verdict.WRONG, ordinal=7, sequence=3, new_label=y),
        a_review(Verdict.UNSURE, 4, ordinal=9, sequence=4),
    ]
    found = verdicts_in_force(table(log))
    ordinals = np.array([9, 2, 3, 5, 7, 7, 2, 100, 0])
    generations = np.array([4, 0, 0, 0, 1, 0, 1, 0, 0], dtype=np.uint32)
    assert found.of(ordinals, generations).tolist() == [UNSURE, CORRECT, 0, WRONG, CORRECT, 0, 0, 0, 0]
    assert found.codes.tolist() == [CORRECT, WRONG, WRONG, UNSURE]
    assert found.labels_after.tolist() == [None, None, "y", None]


def test_no_reviews_say_nothing() -> None:
    found = verdicts_in_force(table([]))
    assert found.of(np.array([1, 2]), np.zeros(2, dtype=np.uint32)).tolist() == [0, 0]
    assert found.of(np.array([], dtype=np.int64), np.zeros(0, dtype=np.uint32)).tolist() == []


def test_a_hundred_thousand_reviews_are_read_in_less_than_a_second() -> None:
    count = 100_000
    columns = {
        "sequence": np.arange(1, count + 1),
        "created_at": pa.array([AT] * count, pa.timestamp("us", tz="UTC")),
        "ordinal": np.random.default_rng(0).permutation(count),
        "generation": np.zeros(count, dtype=np.int64),
        "verdict": np.full(count, WRONG, dtype=np.uint8),
        "undoes": pa.nulls(count, pa.int64()),
        "id": pa.array([f"s{n}" for n in range(count)]),
        "label": pa.array([f"class {n % 77}" for n in range(count)]),
        "label_number": np.zeros(count, dtype=bool),
        "new_label": pa.array(["other" if n % 2 else None for n in range(count)]),
        "new_label_number": np.zeros(count, dtype=bool),
    }
    reviews = pa.table(columns).cast(SCHEMA)
    started = time.perf_counter()
    found = verdicts_in_force(reviews)
    assert len(found.ordinals) == count
    assert time.perf_counter() - started < 1.0
