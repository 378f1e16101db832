"""Which part of the samples is enough? The whole way that a user goes, against a started service.

    python benchmarks/subsets.py --out build/subsets [--data DIR --models DIR] [--only demo]

Sends a data set, scores it for cores of 50 % and 30 %, and compares both with as many random samples and
with all, by three seeds at equal steps. The report of each comparison is kept; what is there already is not
computed again. Without --data and --models only the shipped reviews are taken.
"""

from __future__ import annotations

import argparse
import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.client import Client
from demo.run import REVIEWS
from demo.scenario import LABELS, read_reviews
from demo.service import running_service

SEED, SEEDS = 0, 3
FRACTIONS = (0.5, 0.3)
Sample = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """One data set and how it is trained on. train, test: rows, drawn by SEED. params: of all its jobs."""

    name: str
    file: str
    model: str
    task: str
    labels: list[str] | list[int]
    train: int
    test: int
    params: dict[str, Any] = field(default_factory=dict)

    def samples(self, path: Path) -> list[Sample]:
        """A group is in one split only."""
        rows = [_READERS[self.name](row) for row in read_reviews(path)]
        rows = [row for row in rows if row["text"].strip()]
        groups = sorted({row.get("group", row["id"]) for row in rows})
        order = {groups[i]: at for at, i in enumerate(np.random.default_rng(SEED).permutation(len(groups)))}
        rows.sort(key=lambda row: order[row.get("group", row["id"])])
        for number, row in enumerate(rows):
            row["split"] = "train" if number < self.train else "test"
        border = rows[self.train - 1].get("group")
        if border is not None:
            rows = [r for r in rows if r["split"] == "train" or r["group"] != border]
        return rows[: self.train + self.test]


def _review(row: Mapping[str, str]) -> Sample:
    return {"id": row["id"], "text": row["text"], "label": LABELS[row["recommended"]]}


def _search(row: Mapping[str, str]) -> Sample:
    grade = int(row["grade3"])
    pair = {"text": row["query"], "text_pair": row["product_title"]}
    return {"id": row["id"], **pair, "label": grade, "group": row["query"]}


def _shopping(row: Mapping[str, str]) -> Sample:
    return {"id": row["id"], "text": f"query: {row['review']}", "label": row["label"]}


_READERS = {"demo": _review, "home_depot": _search, "shopping_zh": _shopping}
_TRAINING = {"num_train_epochs": 2, "per_device_train_batch_size": 32}
SUBJECTS = [
    Subject(
        "demo", "", "demo", "classification", list(LABELS.values()), 1_200, 1_000,
        {**_TRAINING, "learning_rate": 5e-4, "max_length": 32, "model_config": {"num_hidden_layers": 2}},
    ),
    Subject(
        "shopping_zh", "online_shopping_zh.csv.gz", "me5-small-zh-en", "classification", ["0", "1"],
        1_200, 1_000,
        {**_TRAINING, "learning_rate": 3e-4, "max_length": 32, "model_config": {"num_hidden_layers": 4}},
    ),
    Subject(
        "home_depot", "home_depot_relevance.csv.gz", "minilm-l6", "relevance", [0, 1, 2], 1_200, 1_000,
        {**_TRAINING, "per_device_train_batch_size": 16, "learning_rate": 3e-4, "max_length": 24,
         "model_config": {"num_hidden_layers": 3}},
    ),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("build/subsets"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--only", choices=[subject.name for subject in SUBJECTS])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for subject, path, model in _asked(args):
        if not (args.out / f"{subject.name}.json").exists():
            compare(subject, path, model, args.out)
        report = json.loads((args.out / f"{subject.name}.json").read_text(encoding="utf-8"))
        print_table(subject.name, report["result"])


def _asked(args: argparse.Namespace) -> Iterator[tuple[Subject, Path, str]]:
    for subject in SUBJECTS:
        if args.only not in (None, subject.name):
            continue
        if not subject.file:
            yield subject, REVIEWS, subject.model
        elif args.data is not None and args.models is not None:
            yield subject, args.data / subject.file, str((args.models / subject.model).resolve())


def compare(subject: Subject, path: Path, model: str, out: Path) -> None:
    """Leaves `<name>.json` and `<name>.html`, the comparison's reports."""
    allowed = {} if model == "demo" else {"GRADSIFT_ALLOWED_MODELS": model}
    with running_service(allowed) as service, Client(service.address) as client:
        client.put_dataset(subject.name, {"task": subject.task, "labels": subject.labels})
        told = client.send_samples(subject.name, subject.samples(path))
        print(f"{subject.name}: {told['created']} samples sent", flush=True)
        job = {"dataset": subject.name, "model": model}
        for fraction in FRACTIONS:
            params = {**subject.params, "core_fraction": fraction, "fresh": True}
            _run(client, {**job, "kind": "score", "params": params})
        subsets = [f"core@{version}" for version in range(1, len(FRACTIONS) + 1)]
        done = _run(
            client,
            {**job, "kind": "compare", "params": {**subject.params, "subsets": subsets, "seeds": SEEDS}},
        )
        for suffix in ("html", "json"):  # the JSON last: it says that the rest is there
            with client.job_file(done, f"report.{suffix}") as chunks:
                (out / f"{subject.name}.{suffix}").write_bytes(b"".join(chunks))


def _run(client: Client, body: dict[str, Any]) -> str:
    job_id = str(client.create_job(body)["id"])
    job = deque(client.follow(job_id), maxlen=1).pop()
    if job["state"] != "succeeded":
        raise SystemExit(f"the {body['kind']} job of {body['dataset']} {job['state']}: {job['error']}")
    print(
        f"  {body['kind']} {job['params'].get('core_fraction', '')}: {job['result']['seconds']:.0f} s",
        flush=True,
    )
    return job_id


def print_table(name: str, result: Mapping[str, Any]) -> None:
    metric = result["metric"]
    print(f"\n{name}: {metric}, {result['test_samples']} test samples")
    for one in result["subsets"]:
        found = one["metrics"][metric]
        print(
            f"  {one['subset']:<16} {one['samples']:>6} samples  {100 * found['mean']:.1f} "
            f"({100 * found['low']:.1f} to {100 * found['high']:.1f})"
        )
    for line in result["verdict"]:
        print(f"  {line}")


if __name__ == "__main__":
    main()
