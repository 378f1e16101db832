"""/v1/datasets/{dataset}/scores: answered from Redis alone, in one round trip."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Response

from app.api.dependencies import DatasetDep, ServiceDep
from app.api.schemas import LookupIn, LookupOut, Score
from app.services import scores as use

router = APIRouter(prefix="/v1/datasets/{dataset}/scores", tags=["scores"])


@router.get("/{sample_id}", response_model=Score)
def get_score(dataset: DatasetDep, service: ServiceDep, sample_id: str) -> Response:
    """The score of one sample; visits 0 and nulls while it is unscored."""
    return _json(use.score(service.state, dataset, sample_id))


@router.post("/lookup", response_model=LookupOut)
def lookup_scores(dataset: DatasetDep, service: ServiceDep, body: LookupIn) -> Response:
    """Scores in the order asked, null for an unknown id."""
    return _json({"scores": use.scores(service.state, dataset, body.ids)})


def _json(body: object) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")
