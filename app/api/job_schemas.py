"""Bodies of requests and answers about jobs, whose `params` are those of their kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from app.contracts import JobError, JobKind, JobState, Progress
from app.contracts.base import Strict, Text, Timestamp
from app.contracts.params import JobParams
from app.contracts.params.kinds import PARAMS
from app.contracts.webhooks import Webhook


def _known_kind(kind: object) -> object:
    if isinstance(kind, str) and kind not in list(JobKind):
        raise PydanticCustomError("unknown_kind", "this version of the service has no such kind of job")
    return kind


def _of_the_kind(params: object, info: ValidationInfo) -> JobParams:
    """Chosen by `kind`, a field before this one. A union that is tagged by it would name the tag in every
    pointer, and stop at a wrong kind without a look at the other fields."""
    kind = info.data.get("kind", JobKind.SCORE)  # absent: refused already, and the rest is told as ever
    return PARAMS[kind].model_validate(params, from_attributes=True)  # as FastAPI reads the whole body


ParamsOfTheKind = Annotated[
    JobParams,
    BeforeValidator(_of_the_kind),
    Field(description=", ".join(f"{params.__name__} for kind `{kind}`" for kind, params in PARAMS.items())),
]


class JobIn(Strict):
    dataset: Text
    kind: Annotated[JobKind, BeforeValidator(_known_kind)]
    model: Annotated[Text, Field(min_length=1, max_length=1024)] | None = Field(
        default=None, description="`demo` when left out; null for kinds that train no model."
    )
    params: ParamsOfTheKind = Field(default_factory=dict, validate_default=True)
    webhook: Text | None = Field(
        default=None, description="URL that the job is posted to when it has ended, signed."
    )


class JobOut(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    id: str
    kind: JobKind
    dataset: str
    model: str | None
    state: JobState
    progress: Progress
    attempt: int
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None
    params: ParamsOfTheKind
    lineage: str | None
    result: dict[str, Any] | None
    error: JobError | None
    webhook: Webhook | None


class SecondsOut(BaseModel):
    low: float
    likely: float
    high: float


class CostOut(SecondsOut):
    currency: str


class EstimateOut(BaseModel):
    steps: int | None = Field(description="At most: a job may stop early. Null for kinds that train nothing.")
    train_samples: int | None
    seconds: SecondsOut | None = Field(description="Running time; null where there is nothing to go by.")
    basis: Literal["earlier jobs", "reference speeds"] | None
    earlier_jobs: int = Field(description="How many the estimate rests on.")
    queue_seconds: float | None = Field(description="Of what runs and waits; null where it cannot be told.")
    cost: CostOut | None = Field(description="Null unless the service knows what an hour costs.")


class DryRunOut(BaseModel):
    """A job that was checked, and neither recorded nor queued."""

    kind: JobKind
    dataset: str
    model: str | None
    params: ParamsOfTheKind
    estimate: EstimateOut


class JobFileOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    name: str
    bytes: int


class JobFiles(BaseModel):
    items: list[JobFileOut]


class JobPage(BaseModel):
    items: list[JobOut]
    next_cursor: str | None
