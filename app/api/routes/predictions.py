"""/v1/datasets/{dataset}/predict: answered by a predictor, while the request waits."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from app.api.answers import json_answer
from app.api.dependencies import DatasetDep, ServiceDep
from app.api.leaving import unless_client_leaves
from app.api.prediction_schemas import PredictIn, PredictOut
from app.contracts.predictions import PredictionRequest
from app.services import predictions as use

router = APIRouter(prefix="/v1/datasets/{dataset}", tags=["predictions"])


@router.post("/predict", response_model=PredictOut)
async def predict(dataset: DatasetDep, service: ServiceDep, body: PredictIn, request: Request) -> Response:
    """What a trained model of the dataset says of these texts. A client that hangs up ends the work."""
    model = await to_thread.run_sync(use.trained_model, service.state, dataset, body.job)
    asked = PredictionRequest([one.text for one in body.texts], [one.text_pair for one in body.texts])
    work = use.predict(service.state, service.settings, model, asked)
    return json_answer(await unless_client_leaves(request, work))
