"""`gradsift import` and `gradsift usage` against a real API; the job is played."""

from __future__ import annotations

import pytest

from app.contracts import JobState, Progress
from tests.test_cli import Service, service

__all__ = ["service"]
pytestmark = pytest.mark.timeout(60)


def test_an_import_is_started_with_its_parameters(service: Service) -> None:
    code, output, errors = service.cli(
        *("import", "new/*.csv", "--dataset", "imported", "--column", "text=body", "--column", "id=nr"),
        *("--format", "csv", "--delimiter", ";", "--number-rows", "--task", "relevance"),
    )
    assert (code, errors) == (0, "")
    job = service.state.jobs.get(output.strip())
    assert (job.kind.value, job.dataset, job.model) == ("import", "imported", "")
    assert job.params == {
        "max_minutes": None,
        "url": "new/*.csv",
        "format": "csv",
        "compression": None,
        "columns": {"text": "body", "id": "nr"},
        "ids": "rows",
        "delimiter": ";",
    }
    assert service.state.datasets.get("imported").task.value == "relevance"
    rejected = [{"file": "a.csv", "row": 3, "id": None, "code": "invalid_row", "detail": "it is odd"}]
    counts = {"received": 9, "created": 5, "updated": 1, "unchanged": 2, "rejected_total": 1}
    service.state.jobs.end(
        service.claim(),
        JobState.SUCCEEDED,
        progress=Progress(phase="done", fraction=1.0),
        result={"files": 1, **counts, "rejected": rejected},
    )
    code, output, errors = service.cli("watch", job.id)
    assert code == 0
    assert "9 received, 5 created, 1 updated, 2 unchanged, 1 rejected\n" in output
    assert "a.csv, row 3 rejected: it is odd" in errors


def test_what_cannot_be_imported(service: Service) -> None:
    code, _, errors = service.cli("import", "/etc/passwd", "--dataset", "refused", "--format", "csv")
    assert code == 1
    assert "[import_not_allowed]" in errors
    assert "remedy: " in errors
    code, _, errors = service.cli("import", "a.csv", "--dataset", "refused", "--column", "body")
    assert code == 2
    assert "FIELD=COLUMN" in errors


def test_usage_of_one_dataset_and_of_all(service: Service) -> None:
    service.submitted("weighed", rows=50)
    code, output, errors = service.cli("usage", "weighed")
    assert code == 0
    rows = dict(line.split("\t")[:2] for line in output.splitlines())
    assert int(rows["files: samples"]) > 1_000
    assert int(rows["redis: ids"]) > 500
    assert int(rows["files, all"]) >= int(rows["files: samples"])
    assert "versions of the samples" in errors
    code, output, _ = service.cli("usage")
    assert code == 0
    weighed = next(line.split("\t") for line in output.splitlines() if line.startswith("weighed"))
    assert weighed[1] == rows["files, all"]
    assert weighed[2].endswith("KiB")
    assert service.cli("usage", "nobody")[0] == 1
