"""Exact norms for encoders with tables of relative positions: MPNet and DeBERTa-v2.

    GOMP_SPINCOUNT=20000 python benchmarks/relative_positions.py --tokens 32 64 --rounds 5

Each contender makes one whole step (forward, backward, AdamW) in turn on one model, 4 layers of width 256,
batch 32; a ratio is that to the plain step of the same round. One thread, CPU time, which other processes
disturb less than wall time.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForSequenceClassification

from models.gradients import GradientObserver

BATCH, WORDS = 32, 8000
SHAPE = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
FAMILIES: dict[str, dict[str, Any]] = {
    "mpnet": {"max_position_embeddings": 514},
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 256,
        "max_relative_positions": 512,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, torch {torch.__version__}, one thread, CPU time, {options.rounds} rounds")
    print("| model, tokens | norms | one backward per sample |")
    print("|---|---|---|")
    for family in FAMILIES:
        for tokens in options.tokens:
            ours, slow = _ratios(family, tokens, options.rounds)
            print(f"| {family} 4×256, {tokens} | {_shown(ours)} | {_shown(slow)} |", flush=True)


def _ratios(family: str, tokens: int, rounds: int) -> tuple[list[float], list[float]]:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, vocab_size=WORDS, num_labels=2, **SHAPE, **FAMILIES[family])
    model = AutoModelForSequenceClassification.from_config(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-5)
    inputs = {"input_ids": torch.randint(5, WORDS, (BATCH, tokens))}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    labels = torch.randint(0, 2, (BATCH,))

    def losses(part: slice) -> torch.Tensor:
        logits = model(**{name: values[part] for name, values in inputs.items()}).logits
        return F.cross_entropy(logits, labels[part], reduction="none")

    def plain() -> None:
        losses(slice(None)).mean().backward()

    def one_by_one() -> None:
        for sample in range(BATCH):
            (losses(slice(sample, sample + 1)).sum() / BATCH).backward()

    observer = GradientObserver(model)

    def observed() -> None:
        losses(slice(None)).mean().backward()
        observer.take(1 / BATCH)

    with observer:  # learns what is free of the batch, once
        observed()
    found: tuple[list[float], list[float]] = ([], [])
    _seconds(plain, model, optimizer)
    for _ in range(rounds):
        base = _seconds(plain, model, optimizer)
        with observer:
            found[0].append(_seconds(observed, model, optimizer) / base)
        found[1].append(_seconds(one_by_one, model, optimizer) / base)
    return found


def _seconds(step: Callable[[], None], model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    started = time.process_time()
    model.zero_grad()
    step()
    optimizer.step()
    return time.process_time() - started


def _shown(ratios: list[float]) -> str:
    low, _, high = statistics.quantiles(ratios, n=4)
    return f"{statistics.median(ratios):.2f} ({low:.2f}-{high:.2f})"


if __name__ == "__main__":
    main()
