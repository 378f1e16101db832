"""`gradsift predict` against a real API; the predictor is played."""

from __future__ import annotations

import io
import json
import sys

import pytest

from app.contracts import Task
from app.services.datasets import put_dataset
from tests.predicting import ended_job, predictor
from tests.test_cli import Service, service

__all__ = ["service"]
pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def job(service: Service) -> str:
    put_dataset(service.state, "asked", Task.CLASSIFICATION, None, None)
    return ended_job(service.state, "asked")


def typed(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_texts_of_the_command_line_and_of_standard_input(
    service: Service, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with predictor(service.state) as taken:
        code, output, errors = service.cli("predict", "asked", "--text", "soft", "--text-pair", "dress")
    assert (code, errors) == (0, f"1 by the model of {job}\n")
    assert output == "label\tprobability\ttext\ngood\t0.75\tsoft\n"
    (request,) = taken[0].requests.values()
    assert (request.texts, request.pairs) == (["soft"], ["dress"])
    typed(monkeypatch, "weich\nschön\n".encode())
    with predictor(service.state) as taken:
        code, output, _ = service.cli("predict", "asked", "--json", "--job", job)
    assert [json.loads(line)["text"] for line in output.splitlines()] == ["weich", "schön"]
    assert json.loads(output.splitlines()[0])["probabilities"] == [0.25, 0.75]
    typed(monkeypatch, b"\xff\n")
    assert "[unreadable_file]" in service.cli("predict", "asked")[2]
    assert service.cli("predict", "asked", "--text", "a", "--text", "b", "--text-pair", "c")[0] == 2


def test_files_are_asked_in_batches_of_one_model(service: Service, job: str) -> None:
    rows = "".join(f'{{"query": "q{n}", "title": "t{n}"}}\n' for n in range(300))
    path = service.file("pairs.ndjson", rows + "broken\n")
    columns = ("--column", "query", "--pair-column", "title")
    with predictor(service.state, turns=2) as taken:
        code, output, errors = service.cli("predict", "asked", "--file", path, *columns)
    assert code == 3
    assert f"300 by the model of {job}\n" in errors
    assert "row 301: not JSON" in errors
    assert len(output.splitlines()) == 301
    sent = [request for one in taken for request in one.requests.values()]
    assert [len(request.texts) for request in sent] == [256, 44]
    assert (sent[1].texts[-1], sent[1].pairs[-1]) == ("q299", "t299")


def test_what_the_service_refuses(service: Service, job: str) -> None:
    code, output, errors = service.cli("predict", "asked", "--text", "\udcff")
    assert (code, output) == (1, "")
    assert "[invalid_request]" in errors
    service.state.predictions.present.leave("p")
    code, _, errors = service.cli("predict", "asked", "--text", "soft")
    assert code == 1
    assert "[no_predictor]" in errors
    assert "gradsift predictor" in errors
