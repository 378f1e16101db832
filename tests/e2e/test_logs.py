"""One request is found again in the lines of every part that worked on it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.e2e.service import Service
from tests.processes import wait_until
from tests.workers.conftest import short_reviews

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def lines(service: Service, **fields: str) -> list[dict[str, Any]]:
    """Those that carry these fields; what is no JSON is the announcement of `up`."""
    told = [json.loads(line) for line in service.log().splitlines() if line.startswith("{")]
    return [line for line in told if fields.items() <= line.items()]


def test_a_request_id_leads_from_the_api_to_the_worker_and_the_predictor(service: Service) -> None:
    service.create("d", short_reviews(24))
    params = {"num_train_epochs": 1, "max_length": 16, "set": "full"}
    body = {"dataset": "d", "kind": "train", "model": "tiny", "params": params}
    sent = service.http.post("/v1/jobs", json=body, headers={"X-Request-ID": "asked-1"})
    assert sent.status_code == 202, sent.text
    job = sent.json()["id"]
    assert service.wait(job)["state"] == "succeeded"
    known = {"request_id": "asked-1", "job_id": job, "dataset": "d"}
    (queued,) = lines(service, event="job queued", part="api", **known)
    assert queued["kind"] == "train"
    assert len(lines(service, event="request", part="api", request_id="asked-1", path="/v1/jobs")) == 1
    # The state is stored before the line that tells of it is written.
    wait_until(lambda: bool(lines(service, part="worker", event="job ended", **known)))
    of_worker = [line["event"] for line in lines(service, part="worker", **known)]
    assert of_worker[0] == "job claimed"
    assert of_worker[-1] == "job ended"

    url = "/v1/datasets/d/predict"
    answer = service.http.post(
        url, json={"texts": [{"text": "good fit"}]}, headers={"X-Request-ID": "asked-2"}
    )
    assert answer.status_code == 200, answer.text
    answered = {"event": "request", "part": "api", "request_id": "asked-2", "dataset": "d", "path": url}
    wait_until(lambda: bool(lines(service, **answered)))  # the line is written when the answer has gone out
    wait_until(lambda: bool(lines(service, event="requests answered", request_id="asked-2", job_id=job)))


def test_every_line_of_the_parts_is_json(service: Service) -> None:
    odd = [line for line in service.log().splitlines() if not line.startswith("{")]
    assert [line for line in odd if "is ready at" not in line] == []


def test_every_process_of_the_workers_is_seen_in_the_metrics(service: Service) -> None:
    def processes() -> set[str]:
        text = service.http.get("/metrics").text
        return set(re.findall(r'^gradsift_worker_resident_bytes\{process="(\w+)",', text, re.M))

    wait_until(lambda: processes() == {"main", "jobs", "predictor"}, 20)
