"""Data parallelism: two real processes over gloo, each with half of the batch."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from models.gradients import GradientObserver
from tests.models.gradients.checks import assert_close
from tests.models.gradients.families import CONFIGS, padded_batch, tiny_classifier

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
WORLD = 2
LENGTHS = [6, 3, 5, 6]
FAMILIES = ("bert", "gpt2", "deberta-v2")


def losses_of(model: nn.Module, family: str, part: slice) -> Tensor:
    inputs, labels = padded_batch(LENGTHS, padding=CONFIGS[family].get("pad_token_id", 0))
    logits = model(**{name: values[part] for name, values in inputs.items()}).logits
    return F.cross_entropy(logits, labels[part], reduction="none")


def gradient_of(model: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def run_rank(rank: int, folder: Path) -> None:
    """What one process of a distributed training does; the results go to files."""
    store = dist.FileStore(str(folder / "store"), WORLD)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=WORLD, timeout=timedelta(seconds=60))
    mine = slice(rank * len(LENGTHS) // WORLD, (rank + 1) * len(LENGTHS) // WORLD)
    found: dict[str, Any] = {}
    for family in FAMILIES:
        model = tiny_classifier(family, torch.float64).eval()
        parallel = DistributedDataParallel(model)
        losses_of(parallel, family, mine).mean().backward()
        plain = gradient_of(model)
        norms = []
        with GradientObserver(model) as observer:
            for _ in range(2):  # DDP rebuilds its buckets after the first step
                model.zero_grad()
                losses_of(parallel, family, mine).mean().backward()
                norms.append(observer.take(WORLD / len(LENGTHS)).norms)
        found[family] = {"plain": plain, "observed": gradient_of(model), "norms": norms}
    torch.save(found, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


def test_norms_are_those_of_one_process_and_gradients_those_of_plain_ddp(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.models.gradients.test_distributed"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path)], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in range(WORLD)
    ]
    for rank in ranks:
        _, errors = rank.communicate(timeout=150)
        assert rank.returncode == 0, errors
    found = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(WORLD)]
    for family in FAMILIES:
        model = tiny_classifier(family, torch.float64).eval()
        with GradientObserver(model) as observer:
            losses_of(model, family, slice(None)).mean().backward()
            expected = observer.take(1 / len(LENGTHS)).norms
        for step in range(2):
            norms = torch.cat([one[family]["norms"][step] for one in found])
            assert_close(norms, expected, 1e-10, f"{family}, norms")
        for one in found:
            assert_close(one[family]["observed"], one[family]["plain"], 1e-10, f"{family}, grad")
            assert_close(one[family]["observed"], gradient_of(model), 1e-10, f"{family}, grad of one process")


if __name__ == "__main__":
    run_rank(int(sys.argv[1]), Path(sys.argv[2]))
