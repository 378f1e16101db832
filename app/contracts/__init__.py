"""What the parts of the service tell each other: jobs, datasets, lineages, set versions."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from app.contracts.access import JobOrigin
from app.contracts.base import Record, Timestamp
from app.contracts.dataset_settings import DatasetSettings

Label = str | int | float
SCORE_FORMULA = "grad-norm-mean/1"
"""Version of the definition of S_i(t); part of a lineage, so a change of formula never mixes scores."""


def now() -> datetime:
    return datetime.now(UTC)


class Task(StrEnum):
    CLASSIFICATION = "classification"
    RELEVANCE = "relevance"


class Split(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class SetName(StrEnum):
    CORE = "core"
    EDGE = "edge"
    NOISE = "noise"


class Verdict(StrEnum):
    """What a reviewer says of a sample's label."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNSURE = "unsure"


UNSCORED = "unscored"
SET_BY_CODE = {0: UNSCORED, 1: SetName.CORE.value, 2: SetName.EDGE.value, 3: SetName.NOISE.value}
CODE_BY_SET = {name: code for code, name in SET_BY_CODE.items()}
REASONS = (
    "unscored",
    "important",
    "coverage",
    "protected",
    "uncertain",
    "easy",
    "mislabelled",
    "ambiguous",
    "outlier",
    "duplicate",
    "redundant",
)
"""The position of a reason is its stored code: append only."""


class Dataset(Record):
    """A dataset as the registry holds it."""

    uid: str
    name: str
    task: Task
    labels: tuple[Label, ...] | None = None
    description: str | None = None
    created_at: Timestamp
    settings: DatasetSettings = DatasetSettings()
    lineage: str | None = None
    set_version: int = 0
    flags: tuple[str, ...] = ()
    """Clean jobs, newest first: the flags hold of the first that has succeeded (`app.store.flags`)."""


class Lineage(Record):
    """Scores add up only within one lineage: same dataset, model, trainable parameters and formula."""

    id: str
    model: str
    revision: str
    trainable: str
    formula: str = SCORE_FORMULA
    settings: str = ""
    created_at: Timestamp
    runs: int = 0

    def same_origin(self, other: Lineage) -> bool:
        mine = (self.model, self.revision, self.trainable, self.formula, self.settings)
        return mine == (other.model, other.revision, other.trainable, other.formula, other.settings)


class SetVersion(Record):
    """One immutable assignment of every scored sample to a set."""

    version: int
    policy: str
    params: dict[str, Any]
    job: str
    lineage: str
    created_at: Timestamp
    sizes: dict[str, int]


class JobKind(StrEnum):
    SCORE = "score"
    GROW = "grow"
    TRAIN = "train"
    COMPARE = "compare"
    IMPORT = "import"
    CLEAN = "clean"
    SPLIT = "split"
    LABEL = "label"

    @property
    def trains(self) -> bool:
        """Whether such a job trains a model; the others work on the samples alone."""
        return self in (JobKind.SCORE, JobKind.GROW, JobKind.TRAIN, JobKind.COMPARE)


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class Progress(Record):
    phase: str = "queued"
    step: int = 0
    total_steps: int = 0
    fraction: float = 0.0
    eta_seconds: float | None = None
    samples_per_second: float | None = None


class JobError(Record):
    code: str
    detail: str
    remedy: str


class Job(Record):
    """A job as clients see it; the record in Redis is the truth, the Celery message only a hint."""

    id: str
    kind: JobKind
    dataset: str
    model: str = ""
    """Empty for kinds that train no model."""
    state: JobState
    progress: Progress
    attempt: int
    created_at: Timestamp
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    params: dict[str, Any]
    lineage: str | None = None
    result: dict[str, Any] | None = None
    error: JobError | None = None


class JobBrief(Record):
    """How a job stands, without what it was asked and what it came to."""

    id: str
    kind: JobKind
    state: JobState
    progress: Progress
    created_at: Timestamp
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    error: JobError | None = None


class Claim(Record):
    """A worker's right to run a job: valid while its lease is renewed and its token is the newest."""

    job: Job
    dataset_uid: str
    token: int
    worker: str
    origin: JobOrigin = JobOrigin()
