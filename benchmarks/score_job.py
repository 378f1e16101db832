"""What a whole `score` job costs beside the same fine-tuning without scores.

    python benchmarks/score_job.py --rows 1000 --layers 2 --pairs 5

Both sides load the demo model, tokenize the same shipped reviews and train one epoch with the same batches,
optimiser and schedule. The score job also reads its samples from Lance, records every visit, writes the score
state to a real Valkey (append-only file on), checkpoints, and publishes the sets. The two run in turn, the
order reversed every pair; a ratio is that of one pair, so that a slow moment of the machine falls on both.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import platform
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import torch

from app.contracts import JobKind, JobState, Task
from app.contracts.params import ScoreParams
from app.ingest.rows import row_from_json
from app.ingest.writing import Ingest
from app.services.datasets import put_dataset
from app.settings import Settings
from app.store.embedded import EmbeddedRedis
from app.store.model_places import find_model
from app.store.state import State, open_state
from models.batching import Collator, LabelledTexts, epoch_batches, tokenize
from models.encoders import load_classifier
from models.training import TrainingConfig
from models.training.optimizer import build_optimizer, learning_rate_at
from workers.runner import run_claimed

ROOT = Path(__file__).resolve().parents[1]


def reviews(count: int) -> list[dict[str, object]]:
    with gzip.open(ROOT / "demo" / "reviews.csv.gz", "rt", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:count]
    return [{"id": row["id"], "text": row["text"], "label": int(row["recommended"])} for row in rows]


def plain_training(rows: list[dict[str, object]], params: ScoreParams, settings: Settings) -> None:
    """Fine-tuning as anybody would write it: no observer, no signals, no stores."""
    source = find_model("demo", settings).source
    overrides = params.model_config_
    classifier = load_classifier(source, num_labels=2, seed=params.seed, config_overrides=overrides)
    tokens = tokenize(classifier.tokenizer, [str(row["text"]) for row in rows], None, params.max_length)
    data = LabelledTexts(tokens, np.array([row["label"] for row in rows], dtype=np.int64))
    config = TrainingConfig(
        num_train_epochs=params.num_train_epochs,
        learning_rate=params.learning_rate,
        per_device_train_batch_size=params.per_device_train_batch_size,
        warmup_ratio=params.warmup_ratio,
        weight_decay=params.weight_decay,
        seed=params.seed,
    )
    model, optimizer = classifier.model, build_optimizer(classifier.model, config)
    collator = Collator.for_model(model)
    model.train()
    step = 0
    for epoch in range(config.num_train_epochs):
        batches = epoch_batches(
            tokens.lengths, config.per_device_train_batch_size, seed=config.seed, epoch=epoch
        )
        for batch in batches:
            optimizer.zero_grad(set_to_none=True)
            logits = model(**collator.collate(tokens, batch)).logits
            torch.nn.functional.cross_entropy(logits, torch.from_numpy(data.labels[batch])).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm or 1.0)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, len(batches) * config.num_train_epochs, config)
            optimizer.step()
            step += 1


def score_job(state: State, settings: Settings, params: ScoreParams) -> None:
    job, _ = state.jobs.create(
        state.datasets.get("reviews"), JobKind.SCORE, "demo", params.model_dump(mode="json")
    )
    claim = state.jobs.claim("benchmark", settings.lease_seconds)
    assert claim is not None
    run_claimed(state, settings, claim)
    ended = state.jobs.get(job.id)
    assert ended.state is JobState.SUCCEEDED, ended.error


def timed(run: partial[None]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--rows", type=int, default=1000)
    options.add_argument("--layers", type=int, default=2)
    options.add_argument("--max-length", type=int, default=64)
    options.add_argument("--pairs", type=int, default=5)
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    params = ScoreParams.model_validate(
        {
            "num_train_epochs": 1,
            "max_length": chosen.max_length,
            "model_config": {"num_hidden_layers": chosen.layers},
        }
    )
    rows = reviews(chosen.rows)
    walls: list[float] = []
    cpus: list[float] = []
    with tempfile.TemporaryDirectory() as place, EmbeddedRedis(Path(place)) as server:
        settings = Settings(redis_url=server.url, data_url=place, log_level="ERROR")
        state = open_state(settings)
        dataset, _ = put_dataset(state, "reviews", Task.CLASSIFICATION, None, None)
        Ingest(state, settings, dataset).add(
            [partial(row_from_json, msgspec.json.encode(row)) for row in rows]
        )
        scored = partial(score_job, state, settings, params)
        plain = partial(plain_training, rows, params, settings)
        timed(plain), timed(scored)  # the first of each warms caches
        for pair in range(chosen.pairs):
            first, second = (plain, scored) if pair % 2 == 0 else (scored, plain)
            taken = {first: timed(first), second: timed(second)}
            walls.append(taken[scored][0] / taken[plain][0])
            cpus.append(taken[scored][1] / taken[plain][1])
            print(
                f"pair {pair + 1}: plain {taken[plain][0]:.1f} s, scored {taken[scored][0]:.1f} s", flush=True
            )
        state.close()
    cores = os.cpu_count()
    print(
        f"{cores} cores, {platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    print(f"{chosen.rows} rows, {chosen.layers} layers, {chosen.max_length} tokens at most, one epoch")
    for name, ratios in (("wall", walls), ("CPU", cpus)):
        print(f"{name} ratio: median {statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps({"wall": walls, "cpu": cpus, **vars(chosen), "json": None}))


if __name__ == "__main__":
    main()
