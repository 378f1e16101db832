"""Real data with labels that are wrong in a known way, and where its texts lie in a pretrained model.

Every setting is drawn by its seed: which rows train, which labels are flipped. 500 rows with right labels
are the validation split, others the test.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.batching import tokenize
from models.encoders import load_classifier
from models.encoders.embedding import mean_embeddings

Ints = NDArray[np.int64]
Rows = list[Mapping[str, str]]
VALIDATION, TEST = 500, 2_000
FLIPPED = 0.2
CONFUSABLE = 3


@dataclass(frozen=True)
class Setting:
    """texts: of train, validation and test, one after the other; embedding: (n + 500 + test, dim) of them,
    unit rows. true, given: (n,) labels of the train rows, right and as they are given."""

    name: str
    source: str
    texts: list[tuple[str, str | None]]
    embedding: NDArray[np.float32]
    true: Ints
    given: Ints
    validation: Ints
    test: Ints
    classes: int

    @property
    def wrong(self) -> NDArray[np.bool_]:
        return self.given != self.true

    @property
    def train_rows(self) -> NDArray[np.float32]:
        return self.embedding[: len(self.true)]

    @property
    def validation_rows(self) -> NDArray[np.float32]:
        return self.embedding[len(self.true) : len(self.true) + len(self.validation)]

    @property
    def test_rows(self) -> NDArray[np.float32]:
        return self.embedding[len(self.true) + len(self.validation) :]


@dataclass(frozen=True)
class Source:
    """One file of the data: the model that reads it, how many rows train, and how a row is read.

    test_split: what the data's own column `split` calls the test rows, where there is one; the validation
    rows come from there, too, where the others' labels are not known to be right.
    """

    file: str
    model: str
    count: int
    max_length: int
    text: Callable[[Mapping[str, str]], str]
    label: Callable[[Mapping[str, str]], str]
    pair: Callable[[Mapping[str, str]], str] | None = None
    prefix: str = ""
    test_split: str | None = None
    validation_from_test: bool = False


SOURCES = {
    "news": Source(
        "news_human_noise",
        "minilm-l6",
        4_000,
        64,
        lambda r: r["text"],
        lambda r: r["true_label"],
        test_split="clean_test",
        validation_from_test=True,
    ),
    "clothing": Source(
        "clothing_reviews",
        "minilm-l6",
        3_000,
        80,
        lambda r: f"{r['title']}. {r['review']}" if r["title"] else r["review"],
        lambda r: r["recommended"],
    ),
    "banking": Source(
        "banking77", "minilm-l6", 3_000, 40, lambda r: r["text"], lambda r: r["intent"], test_split="test"
    ),
    "shopping_zh": Source(
        "online_shopping_zh",
        "me5-small-zh-en",
        3_000,
        64,
        lambda r: r["review"],
        lambda r: r["label"],
        prefix="query: ",
    ),
    "home_depot": Source(
        "home_depot_relevance",
        "minilm-l6",
        3_000,
        48,
        lambda r: r["query"],
        lambda r: r["grade3"],
        pair=lambda r: r["product_title"],
    ),
}


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Of a benchmark on these data."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets (.csv.gz)")
    parser.add_argument("--models", type=Path, required=True, help="folder of the pretrained models")
    parser.add_argument("--out", type=Path, default=Path("build/quality"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sources", nargs="+", help="only these data sets")
    return parser


def load_setting(source_name: str, noise: str, seed: int, data: Path, models: Path, cache: Path) -> Setting:
    """noise: `human`, `symmetric` (any other class), `one_sided` (of the second class to the first),
    `confusable` (one of the three nearest classes) or `clean`."""
    source = SOURCES[source_name]
    random = np.random.default_rng(seed)
    chosen, validation, test = _split(source, _read(data, source.file), random)
    names = sorted({source.label(row) for row in [*chosen, *validation, *test]})
    index = {name: place for place, name in enumerate(names)}
    rows = [*chosen, *validation, *test]
    labels = np.array([index[source.label(row)] for row in rows], dtype=np.int64)
    texts = [(source.prefix + source.text(row), source.pair and source.pair(row)) for row in rows]
    embedding = _embedded(source, texts, models, cache / f"{source_name}-{seed}.npy")
    true, right, tested = np.split(labels, [len(chosen), len(chosen) + len(validation)])
    if noise == "human":
        given = np.array([index[row["noisy_label"]] for row in chosen], dtype=np.int64)
    else:
        given = _flipped(true, noise, len(names), embedding[: len(chosen)], np.random.default_rng(100 + seed))
    name = source_name if noise == "clean" else f"{source_name} {noise}"
    return Setting(name, source_name, texts, embedding, true, given, right, tested, len(names))


def _read(data: Path, name: str) -> Rows:
    csv.field_size_limit(10**9)
    with gzip.open(data / f"{name}.csv.gz", "rt", encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def _split(source: Source, rows: Rows, random: np.random.Generator) -> tuple[Rows, Rows, Rows]:
    """Train, validation and test, as the data splits itself where it does."""
    rows = [row for row in rows if source.text(row).strip()]
    rows = [rows[i] for i in random.permutation(len(rows))]
    if source.test_split is None:
        return rows[2_500 : 2_500 + source.count], rows[:VALIDATION], rows[VALIDATION : VALIDATION + TEST]
    train = [row for row in rows if row["split"] != source.test_split]
    rest = [row for row in rows if row["split"] == source.test_split]
    if source.validation_from_test:
        return train[: source.count], rest[:VALIDATION], rest[VALIDATION : VALIDATION + TEST]
    return train[: source.count], train[source.count : source.count + VALIDATION], rest[:TEST]


def _flipped(
    true: Ints, noise: str, classes: int, rows: NDArray[np.float32], random: np.random.Generator
) -> Ints:
    given = true.copy()
    drawn = random.random(len(true)) < FLIPPED
    if noise == "symmetric":
        given[drawn] = (true[drawn] + random.integers(1, classes, drawn.sum())) % classes
    elif noise == "one_sided":
        given[drawn & (true == 1)] = 0
    elif noise == "confusable":
        means = np.stack([rows[true == label].mean(axis=0) for label in range(classes)])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        similar = means @ means.T
        np.fill_diagonal(similar, -np.inf)
        nearest = np.argsort(-similar, axis=1)[:, :CONFUSABLE]
        given[drawn] = nearest[true[drawn], random.integers(0, CONFUSABLE, drawn.sum())]
    elif noise != "clean":
        raise ValueError(noise)
    return given


def _embedded(
    source: Source, texts: list[tuple[str, str | None]], models: Path, cache: Path
) -> NDArray[np.float32]:
    """As a score job's first look sees them; kept beside the results."""
    if cache.exists():
        return np.asarray(np.load(cache))
    classifier = load_classifier(str(models / source.model), num_labels=2, seed=0, local_files_only=True)
    pairs = None if source.pair is None else [pair for _, pair in texts]
    tokens = tokenize(classifier.tokenizer, [text for text, _ in texts], pairs, source.max_length)
    found = mean_embeddings(classifier.model, tokens, batch_size=64)
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.save(cache, found)
    return found
