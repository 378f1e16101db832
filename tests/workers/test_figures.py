"""What a worker's process says of itself."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import psutil
import pytest

from app.contracts import JobKind
from app.errors import StaleFence, StaleWorker
from app.store.state import State
from tests.processes import wait_until
from tests.workers.conftest import Bench
from workers import figures
from workers.figures import FiguresThread, forget_gpu_peak, process_figures
from workers.runner import JOBS, run_claimed


def test_memory_and_processor_time_are_those_of_the_process() -> None:
    told = process_figures()
    truth = psutil.Process()
    assert told["resident_bytes"] == pytest.approx(truth.memory_info().rss, rel=0.2)
    assert told["cpu_seconds"] == pytest.approx(sum(truth.cpu_times()[:2]), rel=0.2)
    assert not [name for name in told if name.startswith("gpu")], "there is no GPU here, or none was used"


def test_a_gpu_that_is_used_tells_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    reset = []
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        mem_get_info=lambda: (30, 100),
        memory_allocated=lambda: 10,
        memory_reserved=lambda: 20,
        max_memory_allocated=lambda: 15,
        reset_peak_memory_stats=lambda: reset.append(True),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    told = process_figures()
    assert told["gpu_used_bytes"] == 70
    names = ("allocated", "reserved", "peak", "total")
    assert [told[f"gpu_{name}_bytes"] for name in names] == [10, 20, 15, 100]
    forget_gpu_peak()
    assert reset == [True]


def test_the_thread_leaves_figures_again_and_again(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "TOLD_SECONDS", 0.02)
    FiguresThread(state.worker_figures, "w-1", "jobs").start()
    key = state.keys.jobs.figures
    wait_until(lambda: state.client.hexists(key, "w-1 jobs"))
    state.client.delete(key)
    wait_until(lambda: state.client.hexists(key, "w-1 jobs"))


@pytest.mark.parametrize(
    ("error", "refused"), [(StaleWorker("stale_worker", "x"), 0), (StaleFence("stale_worker", "x"), 1)]
)
def test_a_job_lost_to_another_worker_is_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: StaleWorker, refused: int
) -> None:
    class Lost:
        def __init__(self, *_: object) -> None:
            pass

        def run(self) -> None:
            raise error

    monkeypatch.setitem(JOBS, JobKind.CLEAN, Lost)
    bench.dataset([{"id": "a", "text": "t"}])
    bench.queue(kind=JobKind.CLEAN)
    assert run_claimed(bench.state, bench.settings, bench.claim())
    counts = bench.state.tally.counts()
    assert (counts["leases_lost"], counts.get("writes_refused", 0)) == (1, refused)
