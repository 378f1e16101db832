"""The ends of jobs in the audit log, by the worker that ends them."""

from __future__ import annotations

from app.contracts import JobState
from app.contracts.audit import AuditEntry, Outcome
from tests.workers.conftest import Bench


def ends(bench: Bench) -> list[AuditEntry]:
    return [entry for _, entry in bench.state.audit.log.waiting(100) if entry.action == "job.ended"]


def test_a_job_that_succeeds_and_one_that_fails(bench: Bench) -> None:
    rows = [{"id": str(i), "text": f"some words {i}", "label": i % 2} for i in range(8)]
    bench.dataset(rows)
    done = bench.run(num_train_epochs=1)
    failed = bench.run(num_train_epochs=1, trusted_validation=True)
    assert (done.state, failed.state) == (JobState.SUCCEEDED, JobState.FAILED)
    first, second = ends(bench)
    assert (first.job, first.state, first.outcome, first.kind) == (
        done.id,
        "succeeded",
        Outcome.DONE,
        "score",
    )
    assert first.ms > 0
    assert first.counts == {"attempts": 1}
    assert (second.job, second.state, second.code) == (failed.id, "failed", "no_validation")
    assert second.outcome is Outcome.FAILED
