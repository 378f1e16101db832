"""One storm from start to verdict."""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from app.store.state import open_state
from tests.chaos.blows import Storm
from tests.chaos.clients import MOVING, Client, Dataset, Uploader, some_contents
from tests.chaos.compare import (
    Verdict,
    check_contents,
    check_jobs,
    check_results,
    check_same,
    check_state,
    check_sums,
)
from tests.chaos.kinds import kind_of
from tests.chaos.plan import Plan
from tests.chaos.report import Report
from tests.chaos.service import Service
from tests.chaos.truth import LABELS, make_pool, norms_of
from tests.chaos.watching import Jobs
from tests.models.tiny import build_tiny_bert

POOL = 1_500
HELD_OUT = 60
"""Samples of the validation split, and of the test split."""
TICK_SECONDS = 0.05
SETTLE_SECONDS = 2.0
ENDING_SHARE = 0.15
"""How much of its time a storm leaves for the jobs to end."""
Tell = Callable[[str, float], None]
"""Told what happens, and how far the storm is (0 to 1)."""


def run_storm(plan: Plan, tell: Tell = lambda _what, _share: None) -> Report:
    """What the storm broke is in the report; raised is what broke the storm. It keeps its directory then."""
    with storm_directory() as work, service_in(work, plan) as service:
        return _Run(work, service, plan, tell).run()


@contextlib.contextmanager
def storm_directory() -> Iterator[Path]:
    """Stays where the storm raises something, or leaves a file `keep`."""
    work = Path(tempfile.mkdtemp(prefix="gradsift-chaos-"))
    try:
        yield work
    except KeyboardInterrupt:
        shutil.rmtree(work)
        raise
    except BaseException:
        print(f"kept: {work}", flush=True)
        raise
    if not (work / "keep").exists():
        shutil.rmtree(work)


@contextlib.contextmanager
def service_in(work: Path, plan: Plan, **settings: Any) -> Iterator[Service]:
    """The service with its model under `work`, ready; stopped at the end."""
    build_tiny_bert(work / "data" / "models" / "tiny", num_labels=LABELS, width=16, layers=1)
    service = Service(work, plan, **settings)
    try:
        service.await_ready()
        yield service
    finally:
        service.close()


class _Run:
    def __init__(self, work: Path, service: Service, plan: Plan, tell: Tell) -> None:
        self._work, self._service, self._plan, self._tell = work, service, plan, tell
        source = random.Random(plan.seed)
        self._pool = make_pool(POOL, source)
        self._norms = norms_of(work / "data" / "models" / "tiny", self._pool, work)
        self._client = Client(service.address, self._pool, plan)
        names = [MOVING, *(f"d{number}" for number in range(plan.datasets - 1))]
        self._datasets = [Dataset(name, name == MOVING) for name in names]
        for dataset in self._datasets:
            ids = [f"s{number:07}" for number in range(plan.samples)]
            ids += [f"{letter}{number:07}" for letter in "vt" for number in range(HELD_OUT)]
            self._client.create(dataset, some_contents(ids, self._pool, source))

    def run(self) -> Report:
        started = time.monotonic()
        jobs = Jobs(self._client, self._datasets, self._plan)
        uploader = Uploader(self._service.address, self._pool, self._datasets, self._plan)
        storm = Storm(self._service, jobs, self._plan)
        jobs.start()
        uploader.start()
        try:
            self._blow(storm, jobs, uploader, started + self._plan.seconds)
        finally:
            storm.close()
        report = Report(
            plan=self._plan,
            blows=storm.done,
            kinds=Counter(job["kind"] for job in jobs.ended.values()),
            attempts=sum(job["attempt"] for job in jobs.ended.values()),
            uploads=uploader.requests,
            recoveries=jobs.recoveries,
            disturbed=jobs.disturbed,
            seconds=time.monotonic() - started,
            verdicts=self._verdicts(jobs),
        )
        if report.faults and self._plan.fault is None:
            (self._work / "keep").write_text(report.text())
            print(f"kept: {self._work}", flush=True)
        return report

    def _blow(self, storm: Storm, jobs: Jobs, uploader: Uploader, deadline: float) -> None:
        blows = storm.schedule()
        dealt, next_at = 0, time.monotonic() + storm.pause()
        last_blow_at = deadline - ENDING_SHARE * self._plan.seconds
        while jobs.is_alive():
            raise_failure_of(jobs, uploader)
            if time.monotonic() > deadline:
                raise TimeoutError(f"the storm took over {self._plan.seconds} s: {jobs.running}")
            storm.tick()
            if dealt < len(blows) and time.monotonic() >= next_at:
                storm.strike(blows[dealt])
                dealt += 1
                share = self._plan.duplicates * dealt // len(blows)
                storm.duplicate_hints(share - storm.done.duplicates)
                next_at = time.monotonic() + storm.pause()
                self._tell(f"{dealt} of {len(blows)} blows, {len(jobs.ended)} jobs done", dealt / len(blows))
            if dealt == len(blows) and jobs.planned >= 1.15 * self._plan.pairs:
                jobs.enough.set()
            if time.monotonic() > last_blow_at:  # what the plan lacks then, the report says
                del blows[dealt:]
                jobs.enough.set()
            time.sleep(TICK_SECONDS)
        uploader.ending.set()
        uploader.join()
        raise_failure_of(jobs, uploader)
        storm.calm()  # who still sleeps: what they believe must do no harm
        settled = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < settled:
            storm.tick()
            time.sleep(TICK_SECONDS)

    def _verdicts(self, jobs: Jobs) -> list[Verdict]:
        state = open_state(self._service.settings, outage_seconds=30)
        try:
            verdicts = [check_jobs(self._datasets, jobs.ended, state), check_state(state)]
            for dataset in self._datasets:
                verdicts.append(check_contents(dataset, state, self._client, self._pool))
                if dataset.moving:
                    calm = self._calm(dataset, jobs.ended)
                    verdicts.append(check_same(self._client, dataset, calm))
                    verdicts.append(check_results(dataset, calm, jobs.ended))
                else:
                    verdicts.append(check_sums(dataset, jobs.ended, state, self._pool, self._norms))
        finally:
            state.close()
            self._client.close()
        return verdicts

    def _calm(self, stormy: Dataset, ended: dict[str, dict[str, Any]]) -> Dataset:
        """The same samples and jobs once more, undisturbed; how the jobs ended goes into `ended`."""
        calm = Dataset(f"{stormy.name}-calm", moving=True)
        self._client.create(calm, stormy.contents)
        for number in range(len(stormy.jobs)):
            job_id = self._client.submit(calm, kind_of(number, moving=True))
            ended[job_id] = self._client.ended(job_id, within=self._plan.seconds)
        return calm


class Thread(Protocol):
    name: str
    failure: BaseException | None


def raise_failure_of(*threads: Thread) -> None:
    for thread in threads:
        if thread.failure is not None:
            raise RuntimeError(f"{thread.name} failed") from thread.failure
