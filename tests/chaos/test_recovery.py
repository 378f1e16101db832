"""A worker that is killed with all its processes, beside one that is idle."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.recovery import PLAN, bench_with, kill_worker

LEASE_SECONDS = 120.0


@pytest.mark.timeout(300)
def test_its_job_goes_on_long_before_its_lease_runs_out() -> None:
    with bench_with(replace(PLAN, lease_seconds=LEASE_SECONDS)) as bench:
        assert bench.seconds(kill_worker, workers=2) < LEASE_SECONDS / 2
