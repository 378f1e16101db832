"""An import by a real worker, killed half-way; a deletion that reaches the bytes on the disk."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import new_service
from tests.e2e.service import Service

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(110)]
ROWS = 30_000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator[Service]:
    service = new_service(tmp_path_factory.mktemp("importing"), tiny_folder)
    service.environment |= {
        "GRADSIFT_HOUSEKEEPING_SECONDS": "0.5",
        "GRADSIFT_VERSIONS_KEPT_SECONDS": "1",
        "GRADSIFT_INGEST_BATCH_ROWS": "500",
    }
    service.start()
    try:
        yield service
    finally:
        if service.process is not None and service.process.poll() is None:
            service.kill_everything()
        service.http.close()


def ask(service: Service, **params: Any) -> httpx.Response:
    assert service.http.put("/v1/datasets/imported", json={"task": "classification"}).is_success
    body = {"dataset": "imported", "kind": "import", "params": params}
    return service.http.post("/v1/jobs", json=body)


def test_kill_9_of_the_worker_half_way(service: Service) -> None:
    folder = service.data_dir / "imports"
    folder.mkdir()
    lines = [{"id": f"n{n}", "text": "" if n == 20_000 else f"text {n}", "label": n % 2} for n in range(ROWS)]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "rows.ndjson.gz").write_bytes(gzip.compress(content.encode()))
    job_id = str(ask(service, url="rows.ndjson.gz").json()["id"])
    while service.job(job_id)["progress"]["step"] < 5_000:
        assert service.job(job_id)["state"] in ("queued", "running")
        time.sleep(0.02)
    worker = service.worker()
    for process in [*worker.children(recursive=True), worker]:
        process.kill()
    job = service.wait(job_id)
    assert (job["state"], job["attempt"]) == ("succeeded", 2), job
    counts = {name: job["result"][name] for name in ("received", "created", "updated", "unchanged")}
    assert counts == {"received": ROWS, "created": ROWS - 1, "updated": 0, "unchanged": 0}
    assert [one["row"] for one in job["result"]["rejected"]] == [20_001]
    assert service.http.get("/v1/datasets/imported").json()["samples"] == ROWS - 1


def test_places_that_are_not_allowed(service: Service) -> None:
    answer = ask(service, url="file:///etc/passwd", format="csv")
    assert (answer.status_code, answer.json()["code"]) == (403, "import_not_allowed")


def test_a_deleted_sample_is_gone_from_the_disk(service: Service) -> None:
    secret = "a sentence that was never to be kept"
    rows = [{"id": "gone-for-good", "text": secret}, {"id": "stays", "text": "this one is kept"}]
    service.http.put("/v1/datasets/short", json={"task": "classification"})
    assert service.http.post("/v1/datasets/short/samples", json={"samples": rows}).status_code == 200

    def found(words: str) -> list[str]:
        paths = (
            path for path in service.data_dir.rglob("*") if path.is_file() and "models" not in path.parts
        )
        held = []
        for path in paths:
            try:
                if words.encode() in path.read_bytes():
                    held.append(str(path))
            except FileNotFoundError:
                continue
        return held

    assert found(secret)
    assert service.http.delete("/v1/datasets/short/samples/gone-for-good").status_code == 204
    deadline = time.monotonic() + 30
    while service.http.get("/v1/datasets/short/usage").json()["deletions_pending"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    while found(secret) or found("gone-for-good"):
        assert time.monotonic() < deadline, (found(secret), found("gone-for-good"))
        time.sleep(0.1)
    assert found("this one is kept")
