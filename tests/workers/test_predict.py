"""Predictions by trained models: those of transformers alone, whatever shares the batch; a real process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from app.contracts import Job, JobKind
from app.contracts.predictions import PredictionRequest
from app.errors import Conflict
from app.main import create_app
from app.settings import Settings
from app.store.artifacts import Folder
from app.store.prediction_queue import Taken
from app.store.results import ResultStore
from app.store.state import State
from models.errors import ModelError
from tests.processes import wait_until
from tests.workers.conftest import Bench, Row
from workers.predict.answering import Answering
from workers.predict.kept_models import MODELS_KEPT, KeptModels

MakeRows = Callable[[int], list[Row]]
CUT_AT = 12
QUESTIONS: list[tuple[str, str | None]] = [
    ("lovely soft dress", None),
    ("awful", "rough coat"),
    ("very good fit " * 20, None),
    ("bad size", "not good, return this coat " * 9),
    ("", None),
    *((f"{'very ' * (n % 7)}good dress {n}", "a shirt" if n % 3 == 0 else None) for n in range(40)),
]


def trained(bench: Bench, rows: list[Row], **params: Any) -> Job:
    bench.dataset(rows)
    return bench.run(kind=JobKind.TRAIN, set="full", max_length=CUT_AT, learning_rate=5e-3, **params)


def files(bench: Bench, job: Job) -> Folder:
    return bench.state.results.of_job(bench.state.jobs.dataset_uid(job.id), job.id)


def by_transformers_alone(folder: Path, questions: list[tuple[str, str | None]]) -> np.ndarray:
    """(n, classes), one text at a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        logits = [
            model(**tokenizer(text, pair, truncation=True, return_tensors="pt")).logits
            for text, pair in questions
        ]
    found: np.ndarray = torch.softmax(torch.cat(logits), dim=1).numpy()
    return found


def request_of(questions: list[tuple[str, str | None]]) -> PredictionRequest:
    return PredictionRequest([text for text, _ in questions], [pair for _, pair in questions])


def answered(state: State, models: KeptModels, job: Job, sizes: list[int]) -> list[Any]:
    """The answers to as many questions in each request, all of which share one batch."""
    ends = np.cumsum(sizes)
    parts = [request_of(QUESTIONS[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    limits = {"seconds": 20.0, "longest_queue": 99, "most_bytes": 10**6}

    async def go() -> list[Any]:
        asked = [asyncio.create_task(state.prediction_desk.ask(job.id, part, **limits)) for part in parts]
        while state.predictions.waiting() < len(parts):
            await asyncio.sleep(0.002)
        taken = state.predictions.take("p", sum(sizes))
        assert taken is not None
        assert len(taken.requests) == len(parts)
        await asyncio.to_thread(Answering(state.predictions, models).answer, taken)
        answers = await asyncio.gather(*asked)
        await state.prediction_desk.close()
        return answers

    state.predictions.present.beat("p", 30.0)
    return asyncio.run(go())


def test_predictions_are_those_of_transformers_alone(bench: Bench, make_rows: MakeRows) -> None:
    """The files are read as from an object store: by a URL."""
    rows = [row | {"text_pair": "a dress"} if n % 2 else row for n, row in enumerate(make_rows(40))]
    job = trained(bench, rows, num_train_epochs=3)
    assert job.result is not None
    assert job.result["text_pairs"] == "some"
    wanted = by_transformers_alone(Path(files(bench, job).location) / "model", QUESTIONS)
    assert np.ptp(wanted[:, 0]) > 0.05, "a model that says the same of all would prove nothing"
    models = KeptModels(bench.state.jobs, ResultStore(f"file://{bench.settings.data_url}"))
    for sizes in ([45], [1, 1, 3, 40], [7, 1, 37]):
        answers = answered(bench.state, models, job, sizes)
        found = np.concatenate([np.array(answer.probabilities) for answer in answers])
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_models_that_are_kept_and_models_that_cannot_be_used(
    bench: Bench, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [trained(bench, make_rows(8), max_steps=1) for _ in range(3)]
    assert [job.result and job.result["text_pairs"] for job in jobs] == ["none"] * 3
    models = KeptModels(bench.state.jobs, bench.state.results)
    first, second, third = (job.id for job in jobs)
    kept = models.get(first)
    models.get(second)
    assert models.get(first) is kept
    models.get(third)
    assert models.get(first) is kept, "the one that was not asked for longest has made room"
    assert len(models._kept) == MODELS_KEPT
    weights = Path(files(bench, jobs[1]).location) / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError):
        models.get(second)
    files(bench, jobs[1]).remove_all()
    with pytest.raises(Conflict) as caught:
        models.get(second)
    assert caught.value.code == "model_gone"
    (gone,) = answered(bench.state, models, jobs[1], [3])
    assert gone.error.code == "model_gone"
    kept._model.classifier.bias.data.fill_(torch.nan)
    endless = answered(bench.state, models, jobs[0], [1, 2])
    assert [one.error.code for one in endless] == ["non_finite_score"] * 2


def test_what_is_given_up_while_the_model_loads_is_not_computed(
    bench: Bench, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = trained(bench, make_rows(8), max_steps=1)
    models = KeptModels(bench.state.jobs, bench.state.results)
    computed = models.get(job.id)
    monkeypatch.setattr(computed, "probabilities", None)  # to call it would be an error, and be answered
    nobodys = Taken(job.id, {"gone": request_of(QUESTIONS[:1])})
    Answering(bench.state.predictions, models).answer(nobodys)
    assert bench.state.client.keys(f"{bench.state.keys.predictions.base}:*") == []


@contextmanager
def predictor(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    named = {
        "GRADSIFT_REDIS_URL": settings.redis_url,
        "GRADSIFT_DATA_URL": settings.data_url,
        "GRADSIFT_KEY_PREFIX": settings.key_prefix,
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen([sys.executable, "-m", "app.cli", "predictor"], env={**os.environ, **named})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_predictor_that_is_killed_and_the_next_one(bench: Bench, make_rows: MakeRows) -> None:
    job = trained(bench, make_rows(40), num_train_epochs=2)
    queue, state = bench.state.predictions, bench.state
    texts = [{"text": text} for text, pair in QUESTIONS if pair is None]

    def ask() -> Any:
        return http.post("/v1/datasets/d/predict", json={"texts": texts})

    with TestClient(create_app(bench.settings)) as http, ThreadPoolExecutor() as threads:
        assert ask().json()["code"] == "no_predictor"
        with predictor(bench.settings) as first:
            wait_until(lambda: queue.present.count() == 1)
            waiting: Future[Any] = threads.submit(ask)
            held = f"{state.keys.predictions.base}:asked:*"
            wait_until(
                lambda: any(state.client.hexists(key, "taken") for key in state.client.scan_iter(match=held))
            )
            first.kill()
            first.wait()
            (name,) = state.client.zrange(state.keys.predictions.predictors, 0, -1)
            state.client.zadd(state.keys.predictions.predictors, {name: 1})  # its time has run out
            lost = waiting.result()
            assert (lost.status_code, lost.json()["code"]) == (503, "predictor_lost")
        with predictor(bench.settings) as second:
            wait_until(lambda: queue.present.count() == 1)
            body = ask().json()
            assert body["job"] == job.id
            wanted = by_transformers_alone(
                Path(files(bench, job).location) / "model", [(one["text"], None) for one in texts]
            )
            found = np.array([one["probabilities"] for one in body["predictions"]])
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
            labels = [body["labels"][index] for index in wanted.argmax(axis=1)]
            assert [one["label"] for one in body["predictions"]] == labels
            asked = {"texts": texts[:1], "attributions": True}
            (told,) = http.post("/v1/datasets/d/predict", json=asked).json()["predictions"]
            assert [one["token"] for one in told["attributions"]] == texts[0]["text"].split()
            explained = http.get("/v1/datasets/d/samples/s0001/explanation?attributions=true").json()
            assert explained["attributions"]["job"] == job.id
            assert explained["attributions"]["attributions"][0]["token"] == explained["text"].split()[0]
            second.send_signal(signal.SIGTERM)
            assert second.wait(10) == 0
            assert ask().json()["code"] == "no_predictor", "it has taken its name away"
