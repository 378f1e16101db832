"""Near-duplicates against a slow twin: the similarity of every pair, from sets of strings."""

from __future__ import annotations

import re
from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.params import CleanParams
from workers.clean.groups import differing, later_ones
from workers.clean.minhash import MISSED, Banding, MinHash
from workers.clean.near import NearDuplicates, Text
from workers.clean.shingles import CHARACTERS_BELOW, WORDS_FROM, mix

PARAMS = CleanParams()


def slow_sets(text: str) -> list[set[object] | None]:
    found = re.findall(r"[一-鿿]|[a-z0-9]+", text.casefold())
    letters = " ".join(re.sub(r"[^一-鿿a-z0-9]+", " ", text.casefold()).split())
    by_words, by_letters = _runs(found), _runs(list(letters))
    return [
        by_words if len(found) >= WORDS_FROM else None,
        by_letters if len(found) < CHARACTERS_BELOW else None,
    ]


def _runs(items: list[str]) -> set[object]:
    size = min(3, len(items))
    return {tuple(items[i : i + size]) for i in range(len(items) - size + 1)} if items else set()


def slow_alike(one: str, other: str, threshold: float) -> bool:
    for ours, theirs in zip(slow_sets(one), slow_sets(other), strict=True):
        if ours and theirs and len(ours & theirs) >= threshold * len(ours | theirs) - 1e-9:
            return True
    return False


def sentences(random: Random, count: int) -> list[str]:
    """Some are others with a word or two changed; English and Chinese, of all lengths."""
    english = [f"{a}{b}" for a in ("dress", "coat", "zip", "sleeve") for b in "abcdefgh"]
    chinese = list("质量很好物流快手机屏幕清晰电池耐用价格便宜客服态度差包装破损不值得买推荐朋友")
    texts: list[str] = []
    for _ in range(count):
        if texts and random.random() < 0.6:
            words = list(random.choice(texts)) if random.random() < 0.3 else random.choice(texts).split(" ")
            joint = "" if all(len(word) == 1 for word in words) else " "
            for _ in range(random.randint(0, 2)):
                words[random.randrange(len(words))] = random.choice(english if joint else chinese)
            texts.append(joint.join(words))
        elif random.random() < 0.5:
            texts.append(" ".join(random.choices(english, k=random.randint(1, 40))))
        else:
            texts.append("".join(random.choices(chinese, k=random.randint(1, 40))))
    return list(dict.fromkeys(texts))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), threshold=st.sampled_from([0.5, 0.8, 0.9, 1.0]))
def test_as_the_slow_twin_says(seed: int, threshold: float) -> None:
    texts = sentences(Random(seed), 60)
    params = PARAMS.model_copy(update={"near_duplicate_threshold": threshold})
    near = NearDuplicates(params, [Text(text, None) for text in texts], lambda *_: None)
    kept: list[int] = []
    originals = near.originals().tolist()
    for number, original in enumerate(originals):
        like = [other for other in kept if slow_alike(texts[number], texts[other], threshold)]
        assert original == (like[0] if like else -1)
        if not like:
            kept.append(number)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_being_alike_does_not_depend_on_the_order(seed: int) -> None:
    random = Random(seed)
    texts = [Text(text, None, random.randrange(2)) for text in sentences(random, 40)]
    order = random.sample(range(len(texts)), len(texts))
    before = NearDuplicates(PARAMS, texts, lambda *_: None)
    after = NearDuplicates(PARAMS, [texts[i] for i in order], lambda *_: None)
    alike = [(i, j) for i, j in combinations(range(len(texts)), 2) if before.alike(order[i], order[j])]
    assert alike == [(i, j) for i, j in combinations(range(len(texts)), 2) if after.alike(i, j)]
    for number, original in enumerate(after.originals().tolist()):
        assert original < number
        assert original < 0 or before.alike(order[number], order[original])


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 2)), min_size=0, max_size=12),
    seed=st.integers(),
)
def test_groups_as_a_look_at_every_pair_says(rows: list[tuple[int, int]], seed: int) -> None:
    shared = np.array([one for one, _ in rows], dtype=np.int64)
    other = np.array([two for _, two in rows], dtype=np.int64)
    expected = [
        next(
            (j for j, (s, o) in enumerate(rows) if s == row[0] and o >= 0 and row[1] >= 0 and o != row[1]), -1
        )
        for row in rows
    ]
    assert differing(shared, other).of.tolist() == expected
    first = [rows.index(row) for row in rows]
    later = later_ones(shared, other)
    assert later.of.tolist() == [at if at < i else -1 for i, at in enumerate(first)]
    order = np.random.default_rng(abs(seed)).permutation(len(rows))
    assert (differing(shared[order], other[order]).flagged == differing(shared, other).flagged[order]).all()
    assert later_ones(shared[order], other[order]).flagged.sum() == later.flagged.sum()


@pytest.mark.parametrize(
    ("threshold", "num_perm"), [(0.5, 16), (0.5, 128), (0.8, 128), (0.95, 256), (1.0, 64)]
)
def test_few_pairs_are_missed(threshold: float, num_perm: int) -> None:
    banding = Banding.of(threshold, num_perm)
    assert banding.bands * banding.rows <= num_perm
    assert (1 - threshold**banding.rows) ** banding.bands <= MISSED


@pytest.mark.parametrize("shared", [0, 100, 300, 380])
def test_places_agree_as_often_as_sets_are_alike(shared: int) -> None:
    elements = mix(np.arange(1, 801, dtype=np.uint64))
    sets = [elements[:400], elements[400 - shared : 800 - shared]]
    ours, theirs = MinHash(Banding(1, 1024)).signatures(sets)
    assert (ours == theirs).mean() == pytest.approx(shared / (800 - shared), abs=0.06)


def test_a_pair_is_alike_on_both_sides() -> None:
    texts = [
        Text("blue running shoes for men", "Runner 300 blue size 42 with white laces"),
        Text("blue running shoes for men!", "Runner 300, blue, size 42, with white laces"),
        Text("green garden table", "Runner 300 blue size 42 with white laces"),
        Text("blue running shoes for men", None),
        Text("blue running shoes for men!", "runner 300, blue, size 42, with white laces", 1),
    ]
    near = NearDuplicates(PARAMS, texts, lambda *_: None)
    assert near.originals().tolist() == [-1, 0, -1, -1, -1]
