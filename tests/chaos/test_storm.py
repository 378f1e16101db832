"""The short storm, and the test of the test: planted faults must not pass it unseen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.plan import SHORT, Plan
from tests.chaos.run import run_storm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
CALM = Plan(kills=0, stops=0, redis_kills=0, duplicates=0, pairs=10_000, lease_seconds=2.0, kill_seconds=3.0)
PLANS = {
    "increments": replace(CALM, kills=3),
    "lost-shard": replace(CALM, workers=1, spare=0, datasets=2, pairs=5_000),
    # Those that are stopped wake up when all jobs have ended: nobody writes their shards again.
    "unguarded-write": replace(CALM, stops=2, sleep=(300.0, 300.0)),
}


def test_a_storm_leaves_every_sum_right() -> None:
    report = run_storm(SHORT)
    assert report.faults == [], report.text()
    assert report.wrong == 0, report.text()
    assert report.recoveries, report.text()


@pytest.mark.parametrize("fault", sorted(PLANS))
def test_a_planted_fault_is_found(fault: str) -> None:
    report = run_storm(replace(PLANS[fault], fault=fault))
    assert report.wrong > 0, report.text()
