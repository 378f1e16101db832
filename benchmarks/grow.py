"""What a `grow` job does on real data: each round's core beside as many random samples, and what it cost.

    GRADSIFT_ALLOWED_MODELS=MODELS/minilm-l6 gradsift up &
    python benchmarks/grow.py --url http://127.0.0.1:8000 --data DIR --models DIR --source news --noise human

The truth about the labels is known here and hidden from the service: how many labels of each round's core and
noise set are wrong. The test accuracy is that of a linear probe on the frozen embedding, as in quality.py.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from quality_data import SOURCES, Setting, load_setting
from quality_methods import accuracy

from app.client import ENDED, Client
from models.selection import drawn, random_by_label

ROWS_A_CALL = 1_000


def send(client: Client, dataset: str, setting: Setting) -> None:
    count, held_out = len(setting.given), len(setting.validation)
    labels = [*setting.given.tolist(), *setting.validation.tolist()]
    rows = [
        {
            "id": f"s{i:06}",
            "text": text,
            "text_pair": pair,
            "label": labels[i],
            "split": "train" if i < count else "validation",
        }
        for i, (text, pair) in enumerate(setting.texts[: count + held_out])
    ]
    client.put_dataset(dataset, {"task": "classification"})
    for start in range(0, len(rows), ROWS_A_CALL):
        client.send_samples(dataset, rows[start : start + ROWS_A_CALL])


def first_rows(setting: Setting, count: int) -> Setting:
    """With so many of the train rows."""
    out = np.s_[count : len(setting.given)]
    return replace(
        setting,
        texts=[*setting.texts[:count], *setting.texts[len(setting.given) :]],
        embedding=np.delete(setting.embedding, out, axis=0),
        true=setting.true[:count],
        given=setting.given[:count],
    )


def finished(client: Client, job_id: str) -> dict[str, Any]:
    """Shows each phase as it begins; the service may go away and come back meanwhile."""
    shown = ""
    for job in client.follow(job_id):
        phase = f"{job['state']}, {job['progress']['phase']}, attempt {job['attempt']}"
        if phase != shown:
            print(f"  {time.strftime('%H:%M:%S')}  {phase}", flush=True)
            shown = phase
        if job["state"] in ENDED:
            return job
    raise SystemExit("the job was lost from sight")


def members(client: Client, dataset: str, name: str, version: int) -> np.ndarray:
    """Positions of the members among the train rows."""
    params = {"format": "ndjson", "version": str(version)}
    with client.export(dataset, name, params) as parts:
        lines = b"".join(parts).splitlines()
    return np.array(sorted(int(json.loads(line)["id"][1:]) for line in lines), dtype=np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets (.csv.gz)")
    parser.add_argument("--models", type=Path, required=True, help="folder of the pretrained models")
    parser.add_argument("--source", choices=list(SOURCES), default="news")
    parser.add_argument("--noise", default="human", help="human, symmetric, one_sided, confusable or clean")
    parser.add_argument("--count", type=int, default=1_500, help="train rows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/quality"))
    parser.add_argument("--param", action="append", default=[], metavar="NAME=JSON")
    options = parser.parse_args()
    source = SOURCES[options.source]
    setting = load_setting(
        options.source, options.noise, options.seed, options.data, options.models, options.out
    )
    setting = first_rows(setting, options.count)
    params = {"max_length": source.max_length, "seed": options.seed}
    params |= {name: json.loads(value) for name, _, value in (one.partition("=") for one in options.param)}
    dataset = f"grow-{options.source}-{options.noise}-{options.seed}".replace("_", "-")
    with Client(options.url) as client:
        send(client, dataset, setting)
        asked = {
            "dataset": dataset,
            "kind": "grow",
            "model": str(options.models / source.model),
            "params": params,
        }
        job = finished(client, client.create_job(asked)["id"])
        if job["state"] != "succeeded":
            raise SystemExit(json.dumps(job["error"], indent=1))
        report(client, dataset, setting, job, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{dataset}.json").write_text(json.dumps(job, indent=1))


def report(client: Client, dataset: str, setting: Setting, job: dict[str, Any], seed: int) -> None:
    result, wrong = job["result"], setting.wrong
    ids = [f"s{i:06}" for i in range(len(wrong))]
    print(f"{setting.name}: {len(wrong)} train rows, {wrong.mean():.1%} of their labels wrong")
    print("validation: the job's own fine-tuned models; probe: test accuracy of a linear probe; x 100")
    print("round  core  validation core/random  probe core/random  wrong in core  noise, right  visits    s")
    for held in result["rounds"]:
        version = held["set_version"]
        core, noise = (members(client, dataset, name, version) for name in ("core", "noise"))
        random = random_by_label(setting.given, len(core), drawn(ids, seed + (held["round"] << 32)))
        print(
            f"{held['round']:5d} {len(core):5d}  {100 * held['validation']['accuracy']:15.1f}/"
            f"{100 * held['control']['accuracy']:.1f}    {100 * accuracy(setting, core):12.1f}/"
            f"{100 * accuracy(setting, random):.1f}  {wrong[core].mean():13.1%}"
            f"  {len(noise):9d}, {wrong[noise].mean() if len(noise) else 0:5.1%}"
            f"  {held['visits']:6d} {held['seconds']:5.0f}"
        )
    everyone = np.arange(len(wrong))
    print(f"  all {len(wrong):5d} {'':24} {100 * accuracy(setting, everyone):15.1f}  {wrong.mean():18.1%}")
    print(f"stopped: {result['stopped']}; best round {result['best_round']}; {result['seconds']:.0f} s")
    print(f"told of the labels: {result['noise']}")


if __name__ == "__main__":
    main()
