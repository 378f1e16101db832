"""/v1/datasets/{dataset}/cleaning"""

from __future__ import annotations

from fastapi import APIRouter

from app.api.cleaning_schemas import CleaningOut
from app.api.dependencies import DatasetDep, ServiceDep
from app.services.flags import cleaning_report

router = APIRouter(prefix="/v1/datasets/{dataset}/cleaning", tags=["cleaning"])


@router.get("")
def get_cleaning(dataset: DatasetDep, service: ServiceDep) -> CleaningOut:
    """What the last clean job found, counted over the samples as they are now, with examples."""
    return CleaningOut.model_validate(cleaning_report(service.state, dataset))
