"""The generated document is valid, describes every route, and the service starts without torch."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from app.main import create_app
from app.settings import Settings

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
CONTRACT = {
    ("PUT", "/v1/datasets/{dataset}"),
    ("GET", "/v1/datasets"),
    ("GET", "/v1/datasets/{dataset}"),
    ("DELETE", "/v1/datasets/{dataset}"),
    ("POST", "/v1/datasets/{dataset}/samples"),
    ("GET", "/v1/datasets/{dataset}/samples"),
    ("GET", "/v1/datasets/{dataset}/samples/{sample_id}"),
    ("DELETE", "/v1/datasets/{dataset}/samples/{sample_id}"),
    ("POST", "/v1/datasets/{dataset}/samples/{sample_id}/review"),
    ("DELETE", "/v1/datasets/{dataset}/samples/{sample_id}/review"),
    ("GET", "/v1/datasets/{dataset}/samples/{sample_id}/review"),
    ("GET", "/v1/datasets/{dataset}/reviews"),
    ("GET", "/v1/datasets/{dataset}/review-queue"),
    ("POST", "/v1/datasets/{dataset}/predict"),
    ("POST", "/v1/datasets/{dataset}/events"),
    ("POST", "/v1/datasets/{dataset}/items"),
    ("GET", "/v1/datasets/{dataset}/events/summary"),
    ("DELETE", "/v1/datasets/{dataset}/users/{user}/events"),
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/{job_id}"),
    ("GET", "/v1/jobs/{job_id}/events"),
    ("POST", "/v1/jobs/{job_id}/cancel"),
    ("GET", "/v1/datasets/{dataset}/scores/{sample_id}"),
    ("POST", "/v1/datasets/{dataset}/scores/lookup"),
    ("GET", "/v1/datasets/{dataset}/sets"),
    ("GET", "/v1/datasets/{dataset}/sets/{set_name}"),
    ("GET", "/v1/datasets/{dataset}/sets/{set_name}/{sample_id}"),
    ("GET", "/v1/datasets/{dataset}/sets/{set_name}/export"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Made without a server: nothing is connected before the first request."""
    return create_app(Settings(redis_url="redis://127.0.0.1:1/0")).openapi()


@pytest.fixture
def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_every_route_of_the_contract_is_there(operations: dict[tuple[str, str], Any]) -> None:
    assert operations.keys() >= CONTRACT


def test_every_route_is_described(operations: dict[tuple[str, str], dict[str, Any]]) -> None:
    for route, operation in operations.items():
        assert operation.get("summary"), route
        assert operation.get("description"), route
        assert operation.get("tags"), route
        for response in operation["responses"].values():
            assert response["description"], route
    names = [operation["operationId"] for operation in operations.values()]
    assert len(names) == len(set(names))


def test_every_route_declares_its_problems(operations: dict[tuple[str, str], dict[str, Any]]) -> None:
    for route, operation in operations.items():
        assert operation["responses"]["4XX"]["content"] == PROBLEM, route
        assert operation["responses"]["5XX"]["content"] == PROBLEM, route
        assert "HTTPValidationError" not in str(operation), route


def test_problems_are_described_by_what_is_sent(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert set(schemas["Problem"]["required"]) == {
        "type",
        "title",
        "status",
        "detail",
        "code",
        "remedy",
        "request_id",
    }
    assert "ProblemItem" in schemas


def test_the_params_of_every_kind_of_job_are_described(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for model in ("JobIn", "JobOut"):
        named = {kind["$ref"].rpartition("/")[2] for kind in schemas[model]["properties"]["params"]["anyOf"]}
        assert named == {
            "ScoreParams",
            "GrowParams",
            "TrainParams",
            "CompareParams",
            "ImportParams",
            "CleanParams",
            "SplitParams",
            "LabelParams",
        }, model


def test_success_is_declared_with_its_content(operations: dict[tuple[str, str], dict[str, Any]]) -> None:
    for route, operation in operations.items():
        success = {
            status: answer for status, answer in operation["responses"].items() if status.startswith("2")
        }
        assert success, route
        for status, answer in success.items():
            assert (status == "204") is ("content" not in answer), (route, status)
    assert set(operations["PUT", "/v1/datasets/{dataset}"]["responses"]) >= {"200", "201"}
    assert set(operations["POST", "/v1/datasets/{dataset}/samples"]["responses"]) >= {"200", "207"}
    export = operations["GET", "/v1/datasets/{dataset}/sets/{set_name}/export"]["responses"]["200"]["content"]
    assert set(export) == {"application/x-ndjson", "text/csv", "application/vnd.apache.parquet"}


def test_keys_are_declared_where_they_are_asked_for(
    document: dict[str, Any], operations: dict[tuple[str, str], dict[str, Any]]
) -> None:
    schemes = document["components"]["securitySchemes"]
    assert [scheme["scheme"] for scheme in schemes.values()] == ["bearer"]
    for (_, path), operation in operations.items():
        assert ("security" in operation) is path.startswith("/v1"), path


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for name in set(re.findall(r"'\$ref': '([^']+)'", str(document))):
        node: Any = document
        for part in name.removeprefix("#/").split("/"):
            node = node[part]
    assert document["openapi"].startswith("3.")
    for path, methods in document["paths"].items():
        for operation in methods.values():
            declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)}", path)), path


def test_headers_and_links_of_answers_are_declared(operations: dict[tuple[str, str], dict[str, Any]]) -> None:
    names = {operation["operationId"]: operation for operation in operations.values()}
    links = 0
    for route, operation in operations.items():
        for status, answer in operation["responses"].items():
            assert answer["headers"]["X-Request-ID"]["required"], route
            assert ("Retry-After" in answer["headers"]) is (status in ("429", "4XX", "5XX")), (route, status)
            for link in answer.get("links", {}).values():
                taken = {one["name"] for one in names[link["operationId"]]["parameters"]}
                assert link["parameters"].keys() <= taken, (route, link)
                links += 1
    assert links > 5
    assert "Location" in operations["POST", "/v1/jobs"]["responses"]["202"]["headers"]


def test_names_in_paths_say_how_they_look(operations: dict[tuple[str, str], dict[str, Any]]) -> None:
    for route, operation in operations.items():
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                assert parameter["schema"].keys() & {"pattern", "enum", "minLength"}, route


def test_the_document_is_made_once(document: dict[str, Any]) -> None:
    app = create_app(Settings(redis_url="redis://127.0.0.1:1/0"))
    assert app.openapi() is app.openapi()
    assert app.openapi() == document


def test_the_service_imports_neither_torch_nor_a_model_library() -> None:
    code = (
        "import sys; import app.main; app.main.create_app();"
        "foreign = {'torch', 'transformers', 'tokenizers', 'safetensors', 'models', 'workers'};"
        "print(sorted(foreign & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "[]"
