"""What a form is built from: every parameter is explained, and its defaults are those of a job."""

from __future__ import annotations

from typing import Any

import pytest

from app.api.job_schemas import PARAMS
from app.contracts import JobKind
from tests.api.asking import Api


@pytest.fixture
def kinds(api: Api) -> dict[str, dict[str, Any]]:
    answer = api.http.get("/v1/jobs/kinds")
    assert answer.status_code == 200, answer.text
    return {item["kind"]: item for item in answer.json()["items"]}


def properties(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Of the params and of whatever they are made of."""
    models = [schema, *schema.get("$defs", {}).values()]
    return [pair for model in models for pair in model.get("properties", {}).items()]


def test_every_kind_is_there_and_explained(kinds: dict[str, dict[str, Any]]) -> None:
    assert list(kinds) == list(JobKind)
    for kind, item in kinds.items():
        assert item["title"], kind
        assert item["description"].endswith("."), kind
        assert item["trains"] is JobKind(kind).trains


def test_every_parameter_is_explained_in_a_sentence(kinds: dict[str, dict[str, Any]]) -> None:
    for kind, item in kinds.items():
        found = properties(item["params"])
        assert found, kind
        for name, told in found:
            assert told.get("description", "").endswith((".", "…")), (kind, name)
            assert len(told["description"]) > 10, (kind, name)


def test_numbers_say_their_bounds(kinds: dict[str, dict[str, Any]]) -> None:
    epochs = kinds["score"]["params"]["properties"]["num_train_epochs"]
    assert epochs.items() >= {"type": "integer", "default": 3, "minimum": 1, "maximum": 1000}.items()
    policies = kinds["score"]["params"]["properties"]["policy"]
    assert policies["enum"] == ["robust", "seed", "top_k", "ccs", "random"]
    assert "model_config" in kinds["train"]["params"]["properties"], "by the name that a client sends"


@pytest.mark.parametrize("kind", ["score", "grow", "train", "compare", "clean", "label"])
def test_the_defaults_are_those_of_a_job(kinds: dict[str, dict[str, Any]], kind: str) -> None:
    told = {name: one["default"] for name, one in kinds[kind]["params"]["properties"].items()}
    used = PARAMS[JobKind(kind)].model_validate({}).model_dump(mode="json", by_alias=True)
    used.pop("subsets", None)  # the controls join what is asked for
    told.pop("subsets", None)
    assert told == used


def test_what_must_be_given_is_required(kinds: dict[str, dict[str, Any]]) -> None:
    assert kinds["import"]["params"]["required"] == ["url"]
    assert kinds["split"]["params"]["required"] == ["by"]
