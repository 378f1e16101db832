"""`gradsift review` and `gradsift review-queue` against a real API."""

from __future__ import annotations

import json

import pytest

from tests.reviewing import publish
from tests.test_cli import Service, service

__all__ = ["service"]
pytestmark = pytest.mark.timeout(60)
IDS = [f"row-{number:06d}" for number in range(1, 5)]


def test_a_verdict_and_a_correction(service: Service) -> None:
    service.submitted("judged", rows=4)
    assert service.cli("review", "judged", IDS[0], "correct") == (0, f"{IDS[0]}: a is correct\n", "")
    code, output, _ = service.cli("review", "judged", IDS[1], "wrong", "--label", "a")
    assert (code, output) == (0, f"{IDS[1]}: b is wrong, now a\n")
    assert service.sample("judged", IDS[1])["label"] == "a"
    code, output, errors = service.cli("review", "judged", IDS[2], "correct", "--label", "b")
    assert (code, output) == (1, "")
    assert "[contradictory_review]" in errors
    assert "remedy: " in errors
    assert service.cli("review", "judged", "nobody", "unsure")[0] == 1
    assert service.cli("review", "judged", IDS[0], "perhaps")[0] == 2


def test_the_queue_as_table_and_as_json(service: Service) -> None:
    service.submitted("queued", rows=4)
    code, _, errors = service.cli("review-queue", "queued")
    assert code == 1
    assert "[no_sets_yet]" in errors
    publish(service.state, IDS, [0.1, 0.9, 0.4, 0.2], name="queued")
    code, output, errors = service.cli("review-queue", "queued", "--limit", "2")
    assert (code, errors) == (0, "2 of version 1\n")
    header, *rows = (line.split("\t") for line in output.splitlines())
    assert header[:4] == ["id", "label", "suggested label", "noise probability"]
    assert [row[0] for row in rows] == [IDS[1], IDS[2]]
    assert rows[0][1:4] == ["b", "", "0.9"]
    code, output, _ = service.cli("review-queue", "queued", "--json")
    assert [json.loads(line)["id"] for line in output.splitlines()] == [IDS[1], IDS[2], IDS[3], IDS[0]]
