"""Schemathesis in short, against a real `gradsift serve`; `make fuzz` is the long form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzzing.run import fuzz
from tests.fuzzing.service import fuzzed_service

KEY = "a-key-for-fuzzing-only"
SEED = 1
HEAVY = "/v1/jobs"
"""The params of every kind of job make for thousands of cases of its body alone."""


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(300)  # some 30 s on two cores that do nothing else
def test_no_answer_is_outside_the_document(tmp_path: Path) -> None:
    with fuzzed_service(tmp_path, key=KEY) as service:
        options = ["--max-examples", "8", "--exclude-path", HEAVY, "--no-shrink"]
        outcome = fuzz(service, tmp_path, key=KEY, seed=SEED, options=options)
    assert outcome.code == 0, outcome.output
    assert outcome.requests.total() > 1_500
    statuses = {status for _, _, status in outcome.requests}
    assert statuses >= {200, 201, 204, 404, 405, 409, 415, 422, 401}
    assert {operation for _, operation, status in outcome.requests if status >= 500} == {"GET /readyz"}
    assert {phase for phase, _, _ in outcome.requests} >= {"coverage", "fuzzing", "stateful"}
