"""A job that kills its worker's process again and again, as the kernel does where memory runs out."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import new_service
from tests.e2e.service import JOB_SECONDS, Service

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]
WORDS = ("lovely soft dress", "awful rough coat")


@pytest.fixture
def slow_leases(tmp_path: Path, tiny_folder: Path) -> Iterator[Service]:
    """With leases that nobody could wait for."""
    service = new_service(tmp_path, tiny_folder)
    service.environment["GRADSIFT_LEASE_SECONDS"] = "120"
    service.start()
    try:
        yield service
    finally:
        if service.process is not None and service.process.poll() is None:
            service.kill_everything()
        service.http.close()


def kill_as_it_runs(service: Service, job_id: str, attempt: int) -> None:
    """The process that computes, once the job is under way."""
    deadline = time.monotonic() + JOB_SECONDS
    while time.monotonic() < deadline:
        job = service.job(job_id)
        assert job["state"] in ("queued", "running"), job
        if job["state"] == "running" and job["attempt"] == attempt and job["progress"]["step"] > 0:
            computing = max(service.worker().children(), key=lambda child: child.memory_info().rss)
            computing.send_signal(signal.SIGKILL)
            return
        time.sleep(0.02)
    raise AssertionError(f"{job}\n{service.log()[-6000:]}")


def test_it_fails_with_its_reason_and_others_go_on_meanwhile(slow_leases: Service) -> None:
    service = slow_leases
    for name in ("poison", "other"):
        service.create(
            name, [{"id": f"r{n}", "text": f"{WORDS[n % 2]} {n}", "label": n % 2} for n in range(60)]
        )
    poison = service.score("poison", num_train_epochs=500, max_length=16)
    kill_as_it_runs(service, poison, 1)
    other = service.score("other", num_train_epochs=1, max_length=16)
    assert service.wait(other)["state"] == "succeeded", "the older job has had its turn"
    kill_as_it_runs(service, poison, 2)
    kill_as_it_runs(service, poison, 3)
    job = service.wait(poison, seconds=20)
    assert (job["state"], job["error"]["code"]) == ("failed", "worker_lost")
    assert "died 3 times" in job["error"]["detail"]
    assert "signal 9 (SIGKILL)" in job["error"]["detail"]
    assert '"training"' in job["error"]["detail"]
    again = service.score("poison", num_train_epochs=1, max_length=16)
    assert service.wait(again)["state"] == "succeeded", "its dataset is free"
