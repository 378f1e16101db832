"""`gradsift clean` and `gradsift cleaning` against a real API; a worker of this process runs the job."""

from __future__ import annotations

import json

import pytest

from app.settings import Settings
from tests.test_cli import Service, service

__all__ = ["service"]
pytestmark = pytest.mark.timeout(60)


def test_before_and_after_a_clean_job(service: Service) -> None:
    service.submitted("dirty", rows=4)
    code, _, errors = service.cli("cleaning", "dirty")
    assert code == 1
    assert "[not_cleaned]" in errors
    code, output, errors = service.cli("clean", "dirty", "--param", "min_words=4")
    assert code == 0, errors
    run_waiting(service, output.strip())
    code, output, errors = service.cli("cleaning", "dirty", "--examples", "1")
    assert code == 0
    counts, _, examples = output.partition("\n\n")
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in counts.splitlines()}
    assert rows["flag"] == ["samples", "train", "validation", "test", "excludes"]
    assert rows["short_text"] == ["4", "4", "0", "0", ""]
    assert rows["html"] == ["0", "0", "0", "0", ""]
    assert examples.splitlines()[1].split("\t")[:4] == ["short_text", "row-000001", "a", "words of 0"]
    assert errors == "4 of 4 samples have a flag, 0 are unchecked; 0 train samples are left out of training\n"
    code, output, _ = service.cli("cleaning", "dirty", "--json")
    assert json.loads(output)["flags"]["short_text"]["train"] == 4


def run_waiting(service: Service, job_id: str) -> None:
    from workers.runner import run_claimed

    settings = Settings(data_url=str(service.directory))
    claim = service.state.jobs.claim("w", settings.lease_seconds)
    assert claim is not None
    assert claim.job.id == job_id
    run_claimed(service.state, settings, claim)
