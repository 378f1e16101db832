"""Where reports go: `report.json` and `report.html` among the job's files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.contracts import Job
from app.store.results import REPORT_HTML, REPORT_JSON
from workers.ground import TrainingGround
from workers.score.room import when_there_is_room


def job_and_result(job: Job, result: Mapping[str, Any]) -> dict[str, Any]:
    """How every report begins."""
    return {
        "job": job.id,
        "kind": job.kind.value,
        "dataset": job.dataset,
        "model": job.model,
        "params": job.params,
        "result": dict(result),
    }


def keep_report(ground: TrainingGround, report: Mapping[str, Any], html: str) -> None:
    """Bears repetition; waits while the disk is full."""
    content = json.dumps(report, ensure_ascii=False, allow_nan=False).encode()
    when_there_is_room(ground.lease, lambda: ground.results.write(REPORT_JSON, content))
    when_there_is_room(ground.lease, lambda: ground.results.write(REPORT_HTML, html.encode()))
