"""/v1/datasets/{dataset}/scores: answered from Redis alone, in one round trip."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request, Response

from app.api.answers import json_answer
from app.api.dependencies import DatasetDep, Service, ServiceDep
from app.api.direct import DirectRoute
from app.api.schemas import LookupIn, LookupOut, Score
from app.services import scores as use

router = APIRouter(prefix="/v1/datasets/{dataset}/scores", tags=["scores"])


@router.get("/{sample_id}", response_model=Score)
def get_score(dataset: DatasetDep, service: ServiceDep, sample_id: str) -> Response:
    """The score of one sample; visits 0 and nulls while it is unscored."""
    return json_answer(use.score(service.state, dataset, sample_id))


@router.post("/lookup", response_model=LookupOut)
def lookup_scores(dataset: DatasetDep, service: ServiceDep, body: LookupIn) -> Response:
    """Scores in the order asked, null for an unknown id."""
    return json_answer({"scores": use.scores(service.state, dataset, body.ids)})


# -- the same answers, by the direct way ---------------------------------------------------------------------
class _Ids(msgspec.Struct, forbid_unknown_fields=True):
    """A `LookupIn` that is as it should be."""

    ids: list[str]


_read_ids = msgspec.json.Decoder(_Ids).decode


async def _score(service: Service, request: Request) -> bytes | None:
    asked = request.path_params
    return await use.score_json(service.state, asked["dataset"], asked["sample_id"])


async def _scores(service: Service, request: Request) -> bytes | None:
    kind = request.headers.get("content-type", "").partition(";")[0]
    if kind.strip().lower() != "application/json":
        return None
    try:
        body = _read_ids(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return await use.scores_json(service.state, request.path_params["dataset"], body.ids)


direct = [
    DirectRoute("GET", f"{router.prefix}/{{sample_id}}", _score),
    DirectRoute("POST", f"{router.prefix}/lookup", _scores),
]
