"""What a client may ask of a job."""

from __future__ import annotations

from app.contracts.params.cleaning import CleanParams
from app.contracts.params.fitting import CompareParams, DomainPretrainingParams, FittingParams, TrainParams
from app.contracts.params.importing import ImportParams
from app.contracts.params.labelling import LabelParams
from app.contracts.params.sorting import GrowParams, ScoreParams, SortingParams
from app.contracts.params.splitting import SplitParams
from app.contracts.params.training import FittingPeftParams, PeftParams, TrainingParams

JobParams = (
    ScoreParams
    | GrowParams
    | TrainParams
    | CompareParams
    | ImportParams
    | CleanParams
    | SplitParams
    | LabelParams
)

__all__ = [
    "TrainingParams",
    "PeftParams",
    "FittingPeftParams",
    "SortingParams",
    "ScoreParams",
    "GrowParams",
    "DomainPretrainingParams",
    "FittingParams",
    "TrainParams",
    "CompareParams",
    "ImportParams",
    "CleanParams",
    "SplitParams",
    "LabelParams",
]
