"""/v1/datasets/{dataset}/split"""

from __future__ import annotations

from fastapi import APIRouter

from app.api.dependencies import DatasetDep, ServiceDep
from app.api.split_schemas import SplitsOut
from app.services.splits import shown_splits

router = APIRouter(prefix="/v1/datasets/{dataset}/split", tags=["datasets"])


@router.get("")
def get_split(dataset: DatasetDep, service: ServiceDep) -> SplitsOut:
    """Which rule says which split a sample is in, what that came to, and whether it may still change."""
    return SplitsOut.model_validate(shown_splits(service.state, dataset))
