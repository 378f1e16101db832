"""The demo's requests: a dataset, its samples, one job, and what came out of it."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

DATASET = "reviews"
LABELS = {"0": "not recommended", "1": "recommended"}
SETS = ("core", "edge", "noise")
ROWS_A_REQUEST = 500
QUIET_SECONDS = 120.0
"""No event for so long: a worker that died would be replaced well before."""
PARAMS: dict[str, Any] = {
    "num_train_epochs": 3,
    "learning_rate": 1e-4,
    "per_device_train_batch_size": 32,
    "max_length": 64,
    "model_config": {"num_hidden_layers": 2},
    "core_fraction": 0.5,
}
Row = Mapping[str, str]


class RequestFailed(Exception):
    """The service answered with a problem, or the job did not succeed."""


@dataclass(frozen=True)
class Placed:
    """A sample with its importance, the probability that its label is wrong, and its set."""

    id: str
    importance: float
    noise_probability: float
    set: str


def read_reviews(path: Path) -> list[Row]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def send_samples(client: httpx.Client, rows: Sequence[Row]) -> None:
    """Creates the dataset and sends the rows: text and label, never the rating."""
    ask(client, "PUT", f"/v1/datasets/{DATASET}", {"task": "classification", "labels": list(LABELS.values())})
    for start in range(0, len(rows), ROWS_A_REQUEST):
        batch = [
            {"id": row["id"], "text": row["text"], "label": LABELS[row["recommended"]]}
            for row in rows[start : start + ROWS_A_REQUEST]
        ]
        answer = ask(client, "POST", f"/v1/datasets/{DATASET}/samples", {"samples": batch})
        if answer["created"] != len(batch):
            raise RequestFailed(f"of {len(batch)} samples only {answer['created']} were created")


def start_job(client: httpx.Client) -> str:
    body = {"dataset": DATASET, "kind": "score", "model": "demo", "params": PARAMS}
    return str(ask(client, "POST", "/v1/jobs", body)["id"])


def job_events(client: httpx.Client, job_id: str) -> Iterator[dict[str, Any]]:
    """The job at every change, as server-sent events, until it has succeeded.

    Raises:
        RequestFailed: it has failed or was cancelled, or the events ended before the job did.
    """
    timeout = httpx.Timeout(60.0, read=QUIET_SECONDS)
    with client.stream("GET", f"/v1/jobs/{job_id}/events", timeout=timeout) as response:
        if not response.is_success:
            raise RequestFailed(f"the events of the job answered {response.status_code}")
        for line in response.iter_lines():
            if not line.startswith("data:"):
                continue
            job: dict[str, Any] = json.loads(line.removeprefix("data:"))
            yield job
            if job["state"] == "succeeded":
                return
            if job["state"] in ("failed", "cancelled"):
                error = job["error"] or {"code": job["state"], "detail": "", "remedy": ""}
                text = f"the job ended: {error['code']}. {error['detail']} {error['remedy']}"
                raise RequestFailed(text.strip())
    raise RequestFailed("the events of the job ended before the job did")


def all_placed(client: httpx.Client) -> list[Placed]:
    """Every scored sample, most important first."""
    placed = [
        Placed(item["id"], item["importance"], item["noise_probability"], name)
        for name in SETS
        for item in _members(client, name)
    ]
    return sorted(placed, key=lambda sample: (-sample.importance, sample.id))


def _members(client: httpx.Client, name: str) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        params: dict[str, str | int] = {"limit": 1000} | ({"cursor": cursor} if cursor else {})
        page = ask(client, "GET", f"/v1/datasets/{DATASET}/sets/{name}", params=params)
        yield from page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def ask(
    client: httpx.Client,
    method: str,
    path: str,
    body: object = None,
    *,
    params: Mapping[str, str | int] | None = None,
) -> dict[str, Any]:
    """The JSON of a good answer.

    Raises:
        RequestFailed: any other answer, with the code and the detail of its problem document.
    """
    response = client.request(method, path, json=body, params=params)
    if response.is_success:
        answer: dict[str, Any] = response.json()
        return answer
    raise RequestFailed(f"{method} {path} answered {response.status_code}: {response.text[:2000]}")
