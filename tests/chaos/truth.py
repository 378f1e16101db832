"""The truth, computed apart: one plain backward pass a sample, in a process without the worker's code.

    python -m tests.chaos.truth MODEL POOL OUT

The jobs of the storm train with learning rate 0 and without dropout, so the gradient norm of a text under a
label is one number, whenever and however often it is visited: after V visits the sum is V times that number.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.models.tiny import WORDS

LABELS = 2
MAX_LENGTH = 16


def make_pool(count: int, random_source: random.Random) -> list[str]:
    """Different short texts."""
    texts: set[str] = set()
    while len(texts) < count:
        texts.add(" ".join(random_source.choices(WORDS, k=random_source.randint(3, 9))))
    return sorted(texts)


def norms_of(model: Path, pool: list[str], work: Path) -> NDArray[np.float64]:
    """(texts, LABELS) gradient norms, from a process of its own."""
    texts, out = work / "pool.json", work / "norms.npy"
    texts.write_text(json.dumps(pool))
    command = [sys.executable, "-m", "tests.chaos.truth", str(model), str(texts), str(out)]
    subprocess.run(command, check=True, timeout=300)
    return np.asarray(np.load(out), dtype=np.float64)


def _main(model_folder: str, pool_file: str, out: str) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForSequenceClassification.from_pretrained(model_folder).eval()
    pool = json.loads(Path(pool_file).read_text())
    norms = np.zeros((len(pool), LABELS))
    for row, text in enumerate(pool):
        inputs = tokenizer(text, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        for label in range(LABELS):
            model.zero_grad(set_to_none=True)
            logits = model(**inputs).logits
            torch.nn.functional.cross_entropy(logits, torch.tensor([label])).backward()
            squares = [p.grad.double().square().sum() for p in model.parameters() if p.grad is not None]
            norms[row, label] = float(torch.stack(squares).sum().sqrt())
    np.save(out, norms)


if __name__ == "__main__":
    _main(*sys.argv[1:])
