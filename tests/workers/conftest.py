"""A real Valkey, a real sample store, a tiny real model: jobs run in this process, without Celery."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from app.contracts import Claim, Dataset, Job, JobKind, Task
from app.contracts.access import JobOrigin
from app.contracts.params.kinds import PARAMS
from app.ingest.rows import row_from_json
from app.ingest.writing import Ingest
from app.services.datasets import put_dataset
from app.services.jobs import create_job
from app.services.scores import scores
from app.settings import Settings
from app.store.embedded import EmbeddedRedis
from app.store.state import State, open_state
from tests.models.tiny import build_tiny_bert
from workers.runner import run_claimed

TINY = "tiny"
FAST = {"num_train_epochs": 2, "per_device_train_batch_size": 8, "max_length": 16, "learning_rate": 1e-3}
Row = Mapping[str, Any]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """A tiny model gains nothing from a second one."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_drawing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second a job, which only tests that are marked `reports` look at."""
    if request.node.get_closest_marker("reports") is None:
        for job in ("score", "grow"):
            monkeypatch.setattr(f"workers.{job}.pipeline.report_sorting", lambda *_: None)
        monkeypatch.setattr("workers.train.pipeline.report_training", lambda *_: None)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedRedis(tmp_path_factory.mktemp("workers-redis")) as server:
        yield server.url


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_bert(tmp_path_factory.mktemp("model") / TINY)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path, tiny_model: Path) -> Settings:
    models = tmp_path / "models"
    models.mkdir()
    (models / TINY).symlink_to(tiny_model)
    return Settings(
        redis_url=redis_url,
        data_url=str(tmp_path),
        key_prefix=f"t{uuid.uuid4().hex[:8]}",
        allowed_models=(str(tiny_model),),
        flush_seconds=0.0,
        checkpoint_seconds=3600.0,
    )


@pytest.fixture
def state(settings: Settings) -> Iterator[State]:
    state = open_state(settings)
    yield state
    state.close()


class Bench:
    """Sends samples and runs jobs as the service does, without HTTP and Celery between."""

    def __init__(self, state: State, settings: Settings, model: Path) -> None:
        self.state = state
        self.settings = settings
        self.model = str(model)

    def dataset(self, rows: list[Row], *, name: str = "d", task: Task = Task.CLASSIFICATION) -> Dataset:
        dataset, _ = put_dataset(self.state, name, task, None, None)
        self.send(dataset, rows)
        return self.state.datasets.get(name)

    def send(self, dataset: Dataset, rows: list[Row]) -> None:
        ingest = Ingest(self.state, self.settings, dataset)
        ingest.add([partial(row_from_json, msgspec.json.encode(row)) for row in rows])
        assert ingest.report.rejected == []

    def queue(self, dataset: str = "d", *, kind: JobKind = JobKind.SCORE, **params: Any) -> Job:
        job, _ = create_job(
            self.state,
            self.settings,
            lambda: None,
            dataset_name=dataset,
            kind=kind,
            model=self.model if kind.trains else None,
            params=PARAMS[kind].model_validate(FAST | params if kind.trains else params),
            origin=JobOrigin(),
            idempotency_key=None,
        )
        return job

    def claim(self, worker: str = "w") -> Claim:
        claim = self.state.jobs.claim(worker, self.settings.lease_seconds)
        assert claim is not None
        return claim

    def run(self, dataset: str = "d", *, kind: JobKind = JobKind.SCORE, **params: Any) -> Job:
        job = self.queue(dataset, kind=kind, **params)
        run_claimed(self.state, self.settings, self.claim())
        return self.state.jobs.get(job.id)

    def scores(self, ids: list[str], dataset: str = "d") -> list[dict[str, Any]]:
        found = scores(self.state, self.state.datasets.get(dataset), ids)
        assert None not in found
        return [score for score in found if score is not None]


@pytest.fixture
def bench(state: State, settings: Settings, tiny_model: Path) -> Bench:
    return Bench(state, settings, tiny_model)


@pytest.fixture
def short_lease(bench: Bench) -> Bench:
    bench.settings = bench.settings.model_copy(
        update={"lease_seconds": 0.6, "heartbeat_seconds": 0.1, "checkpoint_seconds": 0.0}
    )
    return bench


@pytest.fixture
def make_rows() -> Callable[[int], list[Row]]:
    return short_reviews


def short_reviews(count: int) -> list[Row]:
    """n short reviews of two labels."""
    words = (
        ("lovely soft dress", 1),
        ("awful rough coat return", 0),
        ("good fit", 1),
        ("bad size not good", 0),
    )
    rows = []
    for i in range(count):
        text, label = words[i % len(words)]
        rows.append({"id": f"s{i:04}", "text": f"{text} {'very ' * (i % 5)}{i}", "label": label})
    return rows
