"""The states that a job went through, told from what is known of it."""

from __future__ import annotations

import pytest

from app.contracts import Job, JobKind, JobState, Progress, now
from app.services.jobs import state_changes


@pytest.mark.parametrize(
    ("state", "attempt", "told"),
    [
        ("queued", 0, ["queued"]),
        ("running", 1, ["queued", "running"]),
        ("succeeded", 1, ["queued", "running", "succeeded"]),
        ("queued", 1, ["queued", "running", "queued"]),
        ("failed", 2, ["queued", "running", "queued", "running", "failed"]),
        ("cancelled", 0, ["queued", "cancelled"]),
    ],
)
def test_every_change_is_told_and_the_last_is_the_job_itself(
    state: str, attempt: int, told: list[str]
) -> None:
    ended = state in ("succeeded", "failed", "cancelled")
    job = Job(
        id="job_1",
        kind=JobKind.SCORE,
        dataset="d",
        model="demo",
        state=JobState(state),
        progress=Progress(),
        attempt=attempt,
        created_at=now(),
        finished_at=now() if ended else None,
        params={},
    )
    changes = state_changes(job)
    assert [change.state.value for change in changes] == told
    assert changes[-1] == job
    assert all(change.finished_at is None for change in changes[:-1])
