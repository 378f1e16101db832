"""POST /v1/datasets/{dataset}/predict: whose model, what is refused, what is shown. No predictor runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from app.contracts.predictions import PredictionAnswer, PredictionError
from tests.api.asking import Api, code
from tests.predicting import ended_job, predictor

if TYPE_CHECKING:
    from httpx import Response

TEXT = {"text": "soft dress"}


def predict(api: Api, *texts: dict[str, Any], name: str = "d", **body: Any) -> Response:
    return api.http.post(f"/v1/datasets/{name}/predict", json={"texts": list(texts or [TEXT])} | body)


def test_the_newest_model_is_meant_or_the_one_that_is_named(api: Api) -> None:
    old, new = ended_job(api.state, "d"), ended_job(api.state, "d")
    ended_job(api.state, "d", kind="score")
    ended_job(api.state, "d", ended="failed")
    for asked, meant in (({}, new), ({"job": old}, old), ({"job": None}, new)):
        with predictor(api.state) as taken:
            body = predict(api, {"text": "a"}, {"text": "b", "text_pair": "c"}, **asked).json()
        assert body["job"] == taken[0].job == meant
        assert body["labels"] == ["bad", "good"]
        one = {"label": "good", "probability": 0.75, "probabilities": [0.25, 0.75]}
        assert body["predictions"] == [one, one]
        (request,) = taken[0].requests.values()
        assert (request.texts, request.pairs) == (["a", "b"], [None, "c"])


def test_grades_are_numbers_and_their_mean_is_told(api: Api) -> None:
    api.put("r", task="relevance")
    ended_job(api.state, "r", labels=[0, 1, 2.5])
    with predictor(api.state, lambda _: PredictionAnswer([[0.5, 0.25, 0.25], [0.0, 0.5, 0.5]])):
        first, second = predict(api, TEXT, TEXT, name="r").json()["predictions"]
    assert (first["label"], first["grade"]) == (0, 0.25 + 0.25 * 2.5)
    assert (second["label"], second["grade"]) == (1, 0.5 + 0.5 * 2.5)


def test_jobs_that_are_no_model_of_the_dataset(api: Api) -> None:
    assert code(predict(api), 404) == "no_model_yet"
    failed, scored = ended_job(api.state, "d", ended="failed"), ended_job(api.state, "d", kind="score")
    assert code(predict(api), 404) == "no_model_yet"
    for asked in (failed, scored):
        assert code(predict(api, job=asked), 409) == "job_without_model"
    api.put("other")
    assert code(predict(api, job=ended_job(api.state, "other")), 404) == "unknown_job"
    assert code(predict(api, job="job_x"), 404) == "unknown_job"
    assert code(predict(api, name="nobody"), 404) == "unknown_dataset"
    trained = ended_job(api.state, "d")
    assert api.http.delete("/v1/datasets/d").status_code == 204
    api.put()
    assert code(predict(api, job=trained), 404) == "unknown_job", "it was another dataset of that name"


@pytest.mark.parametrize(
    "body",
    [
        {"texts": []},
        {"texts": [TEXT] * 257},
        {"texts": ["soft dress"]},
        {"texts": [{}]},
        {"texts": [{"text": None}]},
        {"texts": [{"text": 1}]},
        {"texts": [TEXT | {"label": "good"}]},
        {"texts": [TEXT], "job": 1},
        {"texts": [TEXT], "model": "demo"},
        {"texts": [TEXT] * 17, "attributions": True},
        {"texts": None},
    ],
    ids=lambda body: str(body)[:40],
)
def test_bodies_that_are_wrong(api: Api, body: dict[str, Any]) -> None:
    assert code(predict(api, **body), 422) == "invalid_request"


def test_texts_that_do_not_fit(serve: Callable[..., Api]) -> None:
    api = serve(max_text_chars=10)
    api.put()
    ended_job(api.state, "d", text_pairs="all")
    long = predict(api, {"text": "short", "text_pair": "x" * 11})
    assert code(long, 422) == "text_too_long"
    assert [error["pointer"] for error in long.json()["errors"]] == ["/texts/0/text_pair"]
    pair, alone = {"text": "a", "text_pair": "b"}, {"text": "a"}
    mixed = predict(api, pair, alone)
    assert code(mixed, 422) == "pair_mismatch"
    assert [error["pointer"] for error in mixed.json()["errors"]] == ["/texts/1"]
    ended_job(api.state, "d", text_pairs="none")
    assert code(predict(api, pair, alone), 422) == "pair_mismatch"
    ended_job(api.state, "d", text_pairs="some")
    with predictor(api.state):
        assert predict(api, pair, alone).status_code == 200


def test_what_the_predictor_cannot_do_is_told(api: Api) -> None:
    ended_job(api.state, "d")
    told = PredictionError("model_gone", "its files are gone", "Train again.")
    with predictor(api.state, lambda _: PredictionAnswer(error=told)):
        response = predict(api)
    assert code(response, 409) == "model_gone"
    assert response.json()["remedy"] == "Train again."


def test_nobody_is_there_or_nobody_is_done_in_time(serve: Callable[..., Api]) -> None:
    api = serve(predict_seconds=1.0)
    api.put()
    ended_job(api.state, "d")
    nobody = predict(api)
    assert code(nobody, 503) == "no_predictor"
    assert nobody.headers["retry-after"]
    api.state.predictions.present.beat("p", 30.0)
    assert code(predict(api), 504) == "prediction_timeout"
    metrics = api.http.get("/metrics").text
    assert "gradsift_predictors 1.0" in metrics
