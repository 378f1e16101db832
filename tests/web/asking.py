"""What the tests of the dashboard do before they look."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.e2e.service import Service

TEXTS = ("lovely soft dress", "awful rough coat", "good fit, very wearable", "bad size, return it")
FAST = {"num_train_epochs": 2, "per_device_train_batch_size": 16, "max_length": 16}


def address(service: Service) -> str:
    return str(service.http.base_url).rstrip("/")


def open_page(service: Service, page: Page, place: str = "") -> None:
    page.goto(f"{address(service)}/#/{place}")


def scored(service: Service, name: str) -> str:
    """Forty samples and what a real job says of them, made once; answers the job's id."""
    jobs = service.http.get("/v1/jobs", params={"dataset": name}).json()["items"]
    if jobs:
        return str(jobs[0]["id"])
    rows = [
        {"id": f"s{n:02}", "text": f"{TEXTS[n % 4]}, number {n}", "label": "good" if n % 2 == 0 else "bad"}
        for n in range(40)
    ]
    service.create(name, rows)
    job_id = service.score(name, **FAST)
    assert service.wait(job_id)["state"] == "succeeded"
    return job_id
