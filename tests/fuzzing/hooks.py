"""What schemathesis is told in code: bodies of rows, what stays, and refusals that no schema can foretell."""

from __future__ import annotations

import atexit
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.hooks import HookContext
from schemathesis.openapi import media_type
from schemathesis.openapi.checks import RejectedPositiveData

from tests.fuzzing import bodies
from tests.fuzzing.service import KEPT

media_type("text/csv", bodies.CSV)
media_type("application/x-ndjson", bodies.NDJSON)
media_type("application/vnd.apache.parquet", bodies.PARQUET)

BEYOND_SCHEMA = (
    ("invalid_cursor", "", "a cursor is opaque: only one that the service gave out is good"),
    ("invalid_label", "", 'labels 1 and "1" are one class; those of a relevance dataset are numbers'),
    ("contradictory_review", "", "whether a verdict and a label agree depends on the label that is there"),
    ("no_label", "", "whether a sample has a label is not known from its id"),
    ("all_rows_rejected", "", "rows may contradict the dataset, and files have fields of their own"),
    ("invalid_columns", "", "each field may be named once"),
    ("invalid_request", "columns are of NDJSON, CSV and Parquet", "a parameter of some bodies only"),
    ("invalid_request", "/params", "which of the params belong to which kind is told in words"),
    ("invalid_request", "Input should be a valid integer", "3.0 is an integer of JSON Schema, and none here"),
    ("invalid_csv", "the header has no column", "the file may have another delimiter, or no such column"),
    ("invalid_parquet", "the file has no column", "the file may have no such column"),
    ("invalid_request", "query/ids:", "the fuzzer takes it for ids, and puts one there that it has seen"),
    ("unknown_model", "", "which models are there is not in the document"),
    ("model_unused", "", "kinds that train no model have none"),
    ("webhook_unavailable", "", "a webhook is refused whatever its address"),
)
"""Codes of refusals of requests that are as the document says, words of them, and why it cannot say more."""

_requests: Counter[str] = Counter()


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Deletes other datasets than the one that all else is tried on."""
    deletes = case.method.upper() == "DELETE" and case.operation.path == "/v1/datasets/{dataset}"
    if deletes and case.path_parameters.get("dataset") == KEPT:
        case.path_parameters["dataset"] = "another"


@schemathesis.hook
def after_call(context: HookContext, case: Case, response: Response) -> None:
    phase = case.meta.phase.name.value if case.meta else "probe"
    _requests[f"{phase}\t{case.operation.label}\t{response.status_code}"] += 1


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case, response: Response) -> bool:
    if not isinstance(failure, RejectedPositiveData):
        return True
    problem = response.json()
    return not any(problem["code"] == code and words in problem["detail"] for code, words, _ in BEYOND_SCHEMA)


@atexit.register
def _tell() -> None:
    """For the table that is printed at the end."""
    if "FUZZ_COUNTS" in os.environ:
        Path(os.environ["FUZZ_COUNTS"]).write_text(json.dumps(_requests), encoding="utf-8")
