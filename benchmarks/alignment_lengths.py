"""What it would change to divide an alignment by |P g_i| instead of |g_i|.

    python benchmarks/alignment_lengths.py --steps 40 --samples 96

Fine-tunes two layers of the demo model on the shipped reviews, then forms each sample's gradient by itself
and compares the two cosines: their rank correlation, and how many of the lowest tenth they share.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from app.settings import Settings
from app.store.model_places import find_model
from models.batching import Collator, tokenize
from models.encoders import load_classifier
from models.gradients import adam_preconditioner, mean_gradient

REVIEWS = Path(__file__).parents[1] / "demo" / "reviews.csv.gz"
BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40, help="of AdamW, before the gradients are taken")
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    model, losses = _model_and_losses(options.seed)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    for step in range(options.steps):
        optimizer.zero_grad()
        losses(np.arange(step * BATCH, (step + 1) * BATCH)).mean().backward()
        optimizer.step()
    model.eval()
    parameters = dict(model.named_parameters())
    first = options.steps * BATCH
    held_out = [np.arange(at, at + BATCH) for at in range(first, first + 4 * BATCH, BATCH)]
    towards = mean_gradient((losses(batch) for batch in held_out), parameters)
    preconditioner = adam_preconditioner(optimizer, parameters)
    ours, exact = [], []
    for sample in range(first + 4 * BATCH, first + 4 * BATCH + options.samples):
        gradient = mean_gradient([losses(np.array([sample]))], parameters)
        stepped = {name: g * preconditioner[name] for name, g in gradient.items()}
        dot = _dot(stepped, towards)
        direction = {name: g * preconditioner[name] for name, g in towards.items()}
        ours.append(dot / (_length(gradient) * _length(direction)))
        exact.append(dot / (_length(stepped) * _length(towards)))
    _report(np.array(ours), np.array(exact))


def _model_and_losses(seed: int):  # type: ignore[no-untyped-def]
    place = find_model("demo", Settings())
    loaded = load_classifier(
        place.source,
        num_labels=2,
        seed=seed,
        config_overrides={"num_hidden_layers": 2},
        local_files_only=True,
    )
    with gzip.open(REVIEWS, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    order = np.random.default_rng(seed).permutation(len(rows))
    texts = [rows[i]["text"] for i in order]
    labels = torch.tensor([int(rows[i]["recommended"]) for i in order])
    tokens = tokenize(loaded.tokenizer, texts, None, 64)
    collator = Collator.for_model(loaded.model)

    def losses(batch: np.ndarray) -> torch.Tensor:  # type: ignore[type-arg]
        inputs = collator.collate(tokens, batch, torch.device("cpu"))
        return F.cross_entropy(loaded.model(**inputs).logits, labels[batch], reduction="none")

    return loaded.model.train(), losses


def _dot(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    return sum(float((left[name].double() * right[name]).sum()) for name in left)


def _length(gradient: dict[str, torch.Tensor]) -> float:
    return _dot(gradient, gradient) ** 0.5


def _report(ours: np.ndarray, exact: np.ndarray) -> None:  # type: ignore[type-arg]
    ranks = [values.argsort().argsort() for values in (ours, exact)]
    lowest = [set(values.argsort()[: max(1, len(values) // 10)].tolist()) for values in (ours, exact)]
    print(f"samples {len(ours)}, same sign {np.mean((ours > 0) == (exact > 0)):.3f}")
    print(f"rank correlation {np.corrcoef(*ranks)[0, 1]:.4f}")
    print(f"lowest tenth in common {len(lowest[0] & lowest[1])} of {len(lowest[0])}")


if __name__ == "__main__":
    main()
