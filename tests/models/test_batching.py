"""Tokens: nothing lost, nothing from a neighbour; batches: every position once, little padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.batching import (
    Collator,
    LabelledTexts,
    TokenizedTexts,
    epoch_batches,
    length_sorted_batches,
    tokenize,
)
from models.encoders import LoadedClassifier
from tests.models.conftest import LoadTiny


@pytest.fixture
def classifier(load_tiny: LoadTiny) -> LoadedClassifier:
    return load_tiny()


def row(tokens: TokenizedTexts, index: int) -> list[int]:
    start, stop = tokens.offsets[index : index + 2]
    return [int(token) for token in tokens.ids[start:stop]]


def test_rows_are_what_the_tokenizer_gives_one_by_one(classifier: LoadedClassifier) -> None:
    texts = ["the dress is good", "", "xylophone 好", "bad " * 90]
    tokens = tokenize(classifier.tokenizer, texts, None, 16, chunk_size=3)
    for index, text in enumerate(texts):
        assert row(tokens, index) == classifier.tokenizer(text, truncation=True, max_length=16)["input_ids"]
    assert tokens.lengths.max() == 16
    assert (tokens.ids.dtype.name, tokens.offsets.dtype.name) == ("int32", "int64")


def test_pairs_and_single_texts_may_be_mixed(classifier: LoadedClassifier) -> None:
    texts, pairs = ["good coat", "bad shoe", "small"], ["love", None, ""]
    tokens = tokenize(classifier.tokenizer, texts, pairs, 32)
    assert tokens.type_ids is not None
    for index, (text, pair) in enumerate(zip(texts, pairs, strict=True)):
        expected = classifier.tokenizer([text], None if pair is None else [pair])
        assert row(tokens, index) == expected["input_ids"][0]
        start, stop = tokens.offsets[index : index + 2]
        assert tokens.type_ids[start:stop].tolist() == expected["token_type_ids"][0]


def test_the_longer_of_a_pair_is_cut_first(classifier: LoadedClassifier) -> None:
    tokens = tokenize(classifier.tokenizer, ["good " * 30], ["coat fits"], 12)
    words = classifier.tokenizer.convert_ids_to_tokens(row(tokens, 0))
    assert words == ["[CLS]", *["good"] * 7, "[SEP]", "coat", "fits", "[SEP]"]


def test_each_chunk_is_reported_and_can_cancel(classifier: LoadedClassifier) -> None:
    done: list[int] = []
    tokenize(classifier.tokenizer, ["good"] * 25, None, 16, chunk_size=10, on_chunk=done.append)
    assert done == [10, 20, 25]

    def cancel(_: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        tokenize(classifier.tokenizer, ["good"], None, 16, on_chunk=cancel)


def test_no_texts_at_all(classifier: LoadedClassifier) -> None:
    tokens = tokenize(classifier.tokenizer, [], None, 16)
    assert len(tokens) == 0
    assert len(tokens.lengths) == 0


@st.composite
def ragged(draw: st.DrawFn) -> TokenizedTexts:
    rows = draw(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=9), min_size=1, max_size=12))
    flat = np.array([token for tokens in rows for token in tokens], dtype=np.int32)
    offsets = np.concatenate(([0], np.cumsum([len(tokens) for tokens in rows]))).astype(np.int64)
    types = (flat % 2).astype(np.uint8) if draw(st.booleans()) else None
    return TokenizedTexts(flat, offsets, types)


@given(ragged(), st.data())
def test_padding_and_taking_agree_with_a_plain_loop(tokens: TokenizedTexts, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(tokens) - 1), min_size=1, max_size=8))
    indices = np.array(chosen, dtype=np.int64)
    inputs = Collator(pad_token_id=0).collate(tokens, indices)
    taken = tokens.take(indices)
    width = max(len(row(tokens, index)) for index in chosen)
    for place, index in enumerate(chosen):
        expected = row(tokens, index)
        padding = [0] * (width - len(expected))
        assert row(taken, place) == expected
        assert inputs["input_ids"][place].tolist() == expected + padding
        assert inputs["attention_mask"][place].tolist() == [1] * len(expected) + padding
        if tokens.type_ids is not None:
            types = [token % 2 for token in expected]
            assert inputs["token_type_ids"][place].tolist() == types + padding
    assert ("token_type_ids" in inputs) == (tokens.type_ids is not None)
    assert {tensor.dtype for tensor in inputs.values()} == {torch.int64}


def test_only_what_the_forward_takes_is_built(classifier: LoadedClassifier) -> None:
    tokens = tokenize(classifier.tokenizer, ["good"], None, 16)
    first = np.array([0])
    assert set(Collator.for_model(classifier.model).collate(tokens, first)) == {
        "input_ids",
        "attention_mask",
        "token_type_ids",
    }
    assert set(Collator(0, takes_token_type_ids=False).collate(tokens, first)) == {
        "input_ids",
        "attention_mask",
    }


def test_labels_must_be_as_many_as_texts(classifier: LoadedClassifier) -> None:
    tokens = tokenize(classifier.tokenizer, ["good", "bad"], None, 16)
    with pytest.raises(ValueError, match="2 texts but 1 labels"):
        LabelledTexts(tokens, np.zeros(1, dtype=np.int64))


lengths_strategy = st.lists(st.integers(1, 64), max_size=400).map(lambda rows: np.array(rows, dtype=np.int64))


@given(lengths_strategy, st.integers(1, 17), st.integers(0, 2**40), st.integers(0, 50))
def test_every_position_is_in_exactly_one_batch(
    lengths: np.ndarray, batch_size: int, seed: int, epoch: int
) -> None:
    batches = epoch_batches(lengths, batch_size, seed=seed, epoch=epoch)
    again = epoch_batches(lengths, batch_size, seed=seed, epoch=epoch)
    assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in again]
    assert sorted(position for batch in batches for position in batch.tolist()) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // batch_size)
    assert sum(len(batch) != batch_size for batch in batches) <= 1


def test_epochs_differ_and_padding_is_small() -> None:
    lengths = np.random.default_rng(0).integers(4, 128, size=5000)
    first, second = (epoch_batches(lengths, 16, seed=3, epoch=epoch) for epoch in (0, 1))
    assert {frozenset(batch.tolist()) for batch in first}.isdisjoint(
        frozenset(batch.tolist()) for batch in second
    )
    padded = sum(len(batch) * int(lengths[batch].max()) for batch in first)
    assert padded < 1.05 * lengths.sum()
    longest = [int(lengths[batch].max()) for batch in first]
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.2


@given(lengths_strategy, st.integers(1, 17))
def test_reading_batches_start_with_the_longest(lengths: np.ndarray, batch_size: int) -> None:
    order = [position for batch in length_sorted_batches(lengths, batch_size) for position in batch.tolist()]
    assert sorted(order) == list(range(len(lengths)))
    assert lengths[order].tolist() == sorted(lengths.tolist(), reverse=True)
