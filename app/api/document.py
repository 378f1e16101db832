"""What FastAPI cannot know of the service, put into the OpenAPI document: problems, headers, names, links."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.api.dependencies import NAME_PATTERN
from app.api.problems import MEDIA_TYPE, Problem
from app.contracts import SetName

_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "What is wrong with the request.", "content": _CONTENT},
    "5XX": {"description": "A part of the service does not answer now.", "content": _CONTENT},
}

KEY_PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {
        "description": "The request carries no valid API key.",
        "headers": {"WWW-Authenticate": {"schema": {"type": "string"}}},
        "content": _CONTENT,
    },
    403: {
        "description": "The key opens something else, or the settings do not allow it.",
        "content": _CONTENT,
    },
    429: {
        "description": "Too much at a time, or with one key.",
        "headers": {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}},
        "content": _CONTENT,
    },
}

SAMPLE_ID = {"minLength": 1, "maxLength": 128, "pattern": r"^[^/\u0000-\u001f\u007f-\u009f]+$"}
_PATH_NAMES: dict[str, dict[str, Any]] = {
    "dataset": {"pattern": NAME_PATTERN},
    "sample_id": SAMPLE_ID,
    "set_name": {"enum": [name.value for name in SetName]},
    "job_id": {"minLength": 1, "maxLength": 128},
    "user": {"minLength": 1},
    "name": {"minLength": 1},
}
"""Whatever else stands there leads to nothing: 404, as for a name that nobody gave."""

_REQUEST_ID = {
    "X-Request-ID": {
        "description": "The client's own, or one that the service gave; its log has it.",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
    }
}
_RETRY_AFTER = {
    "Retry-After": {
        "description": "With 429 and 503: seconds.",
        "schema": {"type": "integer", "minimum": 1},
    }
}
_LOCATION = {
    "Location": {"description": "Of the job.", "required": True, "schema": {"type": "string", "minLength": 1}}
}
_ATTACHMENT = {
    "Content-Disposition": {
        "description": "A name for the file.",
        "required": True,
        "schema": {"type": "string", "pattern": "^attachment; filename"},
    }
}
_HEADERS: dict[tuple[str, str, str], dict[str, Any]] = {
    ("post", "/v1/jobs", "202"): _LOCATION,
    ("get", "/v1/jobs/{job_id}/files/{name}", "200"): _ATTACHMENT,
    ("get", "/v1/datasets/{dataset}/sets/{set_name}/export", "200"): _ATTACHMENT,
}

_DATASET = {"dataset": "$response.body#/name"}
_JOB = {"job_id": "$response.body#/id"}
_SAMPLE = {"dataset": "$request.path.dataset", "sample_id": "$response.body#/id"}
_OF_DATASETS = {
    "dataset": ("get", "/v1/datasets/{dataset}", _DATASET),
    "samples": ("post", "/v1/datasets/{dataset}/samples", _DATASET),
    "list": ("get", "/v1/datasets/{dataset}/samples", _DATASET),
    "delete": ("delete", "/v1/datasets/{dataset}", _DATASET),
}
_OF_JOBS = {
    "job": ("get", "/v1/jobs/{job_id}", _JOB),
    "cancel": ("post", "/v1/jobs/{job_id}/cancel", _JOB),
    "files": ("get", "/v1/jobs/{job_id}/files", _JOB),
}
_LINKS: dict[tuple[str, str, str], dict[str, tuple[str, str, dict[str, str]]]] = {
    ("put", "/v1/datasets/{dataset}", "201"): _OF_DATASETS,
    ("put", "/v1/datasets/{dataset}", "200"): _OF_DATASETS,
    ("post", "/v1/jobs", "202"): _OF_JOBS,
    ("post", "/v1/datasets/{dataset}/samples/{sample_id}/review", "200"): {
        "reviews": ("get", "/v1/datasets/{dataset}/samples/{sample_id}/review", _SAMPLE),
        "undo": ("delete", "/v1/datasets/{dataset}/samples/{sample_id}/review", _SAMPLE),
        "sample": ("get", "/v1/datasets/{dataset}/samples/{sample_id}", _SAMPLE),
    },
}


def complete(document: dict[str, Any]) -> None:
    """Once for each document."""
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas: dict[str, Any] = document["components"]["schemas"]
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    for method, path, operation in _operations(document):
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                parameter["schema"].update(_PATH_NAMES.get(parameter["name"], {}))
        for status, answer in operation["responses"].items():
            place = (method, path, status)
            refused = _RETRY_AFTER if status in PROBLEMS else {}
            answer["headers"] = {
                **_REQUEST_ID,
                **refused,
                **answer.get("headers", {}),
                **_HEADERS.get(place, {}),
            }
            if place in _LINKS:
                answer["links"] = {name: _link(document, *target) for name, target in _LINKS[place].items()}


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def _link(document: dict[str, Any], method: str, path: str, given: dict[str, str]) -> dict[str, Any]:
    return {"operationId": document["paths"][path][method]["operationId"], "parameters": given}
