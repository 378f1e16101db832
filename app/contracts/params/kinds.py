"""Which parameters a job of each kind takes."""

from __future__ import annotations

from collections.abc import Mapping

from app.contracts import JobKind
from app.contracts.params import (
    CleanParams,
    CompareParams,
    GrowParams,
    ImportParams,
    JobParams,
    LabelParams,
    ScoreParams,
    SplitParams,
    TrainParams,
)

PARAMS: Mapping[JobKind, type[JobParams]] = {
    JobKind.SCORE: ScoreParams,
    JobKind.GROW: GrowParams,
    JobKind.TRAIN: TrainParams,
    JobKind.COMPARE: CompareParams,
    JobKind.IMPORT: ImportParams,
    JobKind.CLEAN: CleanParams,
    JobKind.SPLIT: SplitParams,
    JobKind.LABEL: LabelParams,
}
