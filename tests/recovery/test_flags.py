"""What clean jobs found comes back with everything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.contracts import JobKind, JobState
from app.services.backup import backup
from app.services.flags import cleaning_report
from app.services.rebuild import rebuild
from app.services.restore import restore
from app.services.verify import verify
from tests.recovery.keyspace import lose_redis, rebuilt_part
from tests.recovery.test_backup import silent, wipe
from tests.workers.conftest import Bench, Row
from workers.clean.publishing import publish_flags
from workers.ground import Ground
from workers.lease import JobLease
from workers.runner import run_claimed

MakeRows = Callable[[int], list[Row]]


@pytest.fixture
def cleaned(bench: Bench, make_rows: MakeRows) -> Bench:
    rows = make_rows(8)
    bench.dataset([*rows, {**rows[0], "id": "copy"}])
    assert bench.run(kind=JobKind.CLEAN).state is JobState.SUCCEEDED
    return bench


def found(bench: Bench) -> dict[str, object]:
    return cleaning_report(bench.state, bench.state.datasets.get("d"))


def test_rebuilt(cleaned: Bench) -> None:
    before, told = rebuilt_part(cleaned.state), found(cleaned)
    assert told["flagged"]
    assert list(verify(cleaned.state, [], silent)) == []
    lose_redis(cleaned.state)
    rebuild(cleaned.state, [], replace=False, report=silent)
    assert rebuilt_part(cleaned.state) == before
    assert found(cleaned) == told


def test_restored(cleaned: Bench, tmp_path: Path) -> None:
    told = found(cleaned)
    backup(cleaned.state, str(tmp_path / "backup"), silent)
    wipe(cleaned, tmp_path)
    restore(cleaned.state, str(tmp_path / "backup"), silent)
    assert found(cleaned) == told


def test_restored_from_a_moment_before_a_job_ended(cleaned: Bench, tmp_path: Path) -> None:
    """The job begins anew, and until it has ended the flags of the one before it hold."""
    first = found(cleaned)["job"]
    job = cleaned.queue(kind=JobKind.CLEAN)
    dataset = cleaned.state.datasets.get("d")
    with JobLease(cleaned.claim(), cleaned.state.jobs, cleaned.settings) as lease:
        publish_flags(Ground(cleaned.state, cleaned.settings, lease), dataset)
        backup(cleaned.state, str(tmp_path / "backup"), silent)
    wipe(cleaned, tmp_path)
    restore(cleaned.state, str(tmp_path / "backup"), silent)
    assert found(cleaned)["job"] == first
    run_claimed(cleaned.state, cleaned.settings, cleaned.claim())
    assert found(cleaned)["job"] == job.id
    assert list(verify(cleaned.state, [], silent)) == []
