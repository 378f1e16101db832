"""Bodies of requests and answers, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt

from app.contracts import JobBrief, Split, Task
from app.contracts.base import Strict, Text, Timestamp
from app.contracts.dataset_settings import DatasetSettings
from app.contracts.flags import SampleFlag
from app.ingest.rows import MAX_LABEL_CHARS
from app.store.samples import WHOLE_NUMBERS_BELOW

# The bounds are told here and held where labels are read, which has its own code for what is beyond them.
_LABEL_TEXT: dict[str, Any] = {"minLength": 1, "maxLength": MAX_LABEL_CHARS}
_LABEL_NUMBER: dict[str, Any] = {
    "exclusiveMinimum": -WHOLE_NUMBERS_BELOW,
    "exclusiveMaximum": WHOLE_NUMBERS_BELOW,
}
LabelValue = (
    Annotated[Text, Field(json_schema_extra=_LABEL_TEXT)]
    | Annotated[StrictInt, Field(json_schema_extra=_LABEL_NUMBER)]
    | StrictFloat
)
SetValue = Literal["core", "edge", "noise", "unscored"]


class DatasetIn(Strict):
    task: Task
    labels: list[LabelValue] | None = Field(
        default=None,
        min_length=2,
        max_length=10_000,
        description="Class index = position. Left out: taken from the data, sorted, by the first job.",
        json_schema_extra={"uniqueItems": True},
    )
    description: Annotated[Text, Field(max_length=4096)] | None = None
    settings: DatasetSettings | None = Field(
        default=None, description="The ones that are named change; the others stay as they are."
    )


class LabelCount(BaseModel):
    label: LabelValue | None
    samples: int


class LineageOut(BaseModel):
    id: str
    model: str
    revision: str
    formula: str
    runs: int
    created_at: Timestamp


class DatasetOut(BaseModel):
    name: str
    task: Task
    labels: list[LabelValue] | None
    description: str | None
    settings: DatasetSettings
    created_at: Timestamp
    samples: int
    splits: dict[Split, int]
    label_counts: list[LabelCount]
    sets: dict[SetValue, int] = Field(description="Sizes of the current set version; `unscored` is the rest.")
    set_version: int | None
    lineage: LineageOut | None


class DatasetDetails(BaseModel):
    samples: int
    labelled: int = Field(description="Samples that have a label.")
    splits: dict[Split, int]
    sets: dict[SetValue, int] = Field(description="Sizes of the current set version; `unscored` is the rest.")
    last_job: JobBrief | None = Field(
        description="The one that was sent last; null: none, or none of the 10,000 newest of all datasets."
    )


class DatasetBrief(BaseModel):
    name: str
    task: Task
    labels: list[LabelValue] | None
    description: str | None
    created_at: Timestamp
    set_version: int | None
    details: DatasetDetails | None = Field(description="Null unless asked for.")


class DatasetList(BaseModel):
    items: list[DatasetBrief]


class FileUsage(BaseModel):
    """Bytes."""

    samples: int = Field(description="With the old versions that are kept.")
    events: int = Field(description="Behaviour log and catalogue.")
    reviews: int
    visits: int = Field(description="By epoch: what scores can be added up from again.")
    sets: int
    responses: int
    models: int
    explanations: int
    other_results: int = Field(description="Reports and the like.")
    checkpoints: int
    other: int


class RedisPartUsage(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    keys: int
    bytes: int = Field(description="Estimated from some of the keys.")


class RedisUsage(BaseModel):
    ids: RedisPartUsage
    scores: RedisPartUsage
    sets: RedisPartUsage
    other: RedisPartUsage


class UsageOut(BaseModel):
    files: FileUsage
    files_total: int
    redis: RedisUsage
    redis_total: int
    versions: int = Field(description="Of the samples that are kept.")
    pinned: list[str] = Field(description="Jobs and backups that versions are kept for.")
    deletions_pending: int = Field(description="Deleted samples whose text may still be in some file.")


class Rejected(BaseModel):
    index: int
    id: str | None
    code: str
    detail: str


class IngestOut(BaseModel):
    received: int
    created: int
    updated: int
    unchanged: int
    rejected_total: int
    rejected: list[Rejected] = Field(description="The first 10,000 of them.")
    masked: dict[str, int] = Field(
        description="How often `email`, `phone`, `id`, `card` and `iban` were masked; empty when nothing was."
    )


class GradNorm(BaseModel):
    mean: float
    std: float
    last: float


class Signals(BaseModel):
    grad_norm: GradNorm
    loss: float
    el2n: float
    margin: float
    confidence: float
    variability: float
    forgetting: int
    alignment: float | None


class Score(BaseModel):
    id: str
    importance: float | None = Field(description="S_i(t): mean over visits of the per-sample gradient norm.")
    visits: int
    signals: Signals | None
    noise_probability: float | None
    percentile: float | None = Field(description="Share of scored samples at or below it, in percent.")
    set: SetValue
    reason: str
    lineage: str | None
    updated_at: str | None


class LookupIn(Strict):
    ids: list[Text] = Field(description="Up to 10,000.")


class LookupOut(BaseModel):
    scores: list[Score | None]


class Membership(BaseModel):
    set: SetValue
    version: int | None
    reason: str


class SampleOut(BaseModel):
    id: str
    text: str
    text_pair: str | None
    label: LabelValue | None
    group: str | None
    split: Split
    weight: float | None
    meta: dict[str, Any] | None
    score: Score
    membership: Membership
    flags: list[SampleFlag] | None = Field(
        description="What the last clean job found; null: none has seen the sample as it is."
    )


class SamplePage(BaseModel):
    items: list[SampleOut]
    next_cursor: str | None


class SetVersionOut(BaseModel):
    version: int
    sizes: dict[Literal["core", "edge", "noise"], int]
    policy: str
    params: dict[str, Any]
    job: str
    lineage: str
    created_at: Timestamp


class SetVersions(BaseModel):
    items: list[SetVersionOut]


class SetItem(BaseModel):
    id: str
    importance: float
    noise_probability: float | None
    reason: str


class SetPage(BaseModel):
    version: int
    total: int
    items: list[SetItem]
    next_cursor: str | None


class SetPlace(BaseModel):
    set: SetValue
    reason: str


class SetMove(BaseModel):
    id: str
    from_: SetPlace = Field(alias="from")
    to: SetPlace
    importance: float | None = Field(description="In the newer version, else in the older one.")
    changed: bool = Field(description="Its content is not the one that the older version saw.")


class SetMoves(BaseModel):
    from_: int = Field(alias="from", description="A set version.")
    to: int
    counts: dict[SetValue, dict[SetValue, int]] | None = Field(
        description="How many went from which set to which, of the samples that are there now; null on all "
        "pages but the first."
    )
    items: list[SetMove]
    next_cursor: str | None


class MemberOut(BaseModel):
    member: bool
    set: SetValue
    version: int | None
    reason: str


class Health(BaseModel):
    status: Literal["ok"]


class Readiness(BaseModel):
    status: Literal["ready", "not ready"]
    redis: bool
    samples: bool
    worker: bool
