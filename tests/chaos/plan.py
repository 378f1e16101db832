"""What a storm is made of: how much of each blow, on how much work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """kills: of workers, by SIGKILL. stops: of workers, by SIGSTOP past their lease. redis_kills: of the
    server, each with the tail of its append-only file cut. duplicates: extra Celery messages. pairs:
    (sample, visit) pairs that must have been accumulated at the end. seconds: when the storm gives up.
    spare: workers without a job, that a killed job may find. kill_seconds: from blow to blow, on average.
    sleep: how long beyond its lease a stopped worker sleeps, least and most; no longer than jobs go on.
    """

    kills: int = 12
    stops: int = 2
    redis_kills: int = 3
    duplicates: int = 20
    pairs: int = 60_000
    seed: int = 0
    seconds: float = 330.0
    workers: int = 3
    spare: int = 1
    datasets: int = 3
    samples: int = 1_500
    epochs: int = 6
    batch: int = 64
    kill_seconds: float = 6.0
    lease_seconds: float = 6.0
    sleep: tuple[float, float] = (1.0, 8.0)
    fault: str | None = None


LONG = Plan(
    kills=200,
    stops=15,
    redis_kills=30,
    duplicates=300,
    pairs=1_000_000,
    seconds=2700.0,
    datasets=6,
    samples=3_000,
    epochs=12,
    batch=128,
    kill_seconds=5.0,
    workers=4,
    spare=2,
)
SHORT = Plan()
