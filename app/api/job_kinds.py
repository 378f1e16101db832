"""What may be asked of each kind of job, for those who build a form of it."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel, Field
from pydantic_core import to_jsonable_python

from app.api.job_schemas import PARAMS
from app.contracts import JobKind
from app.contracts.params import JobParams

_WORDS: dict[JobKind, tuple[str, str]] = {
    JobKind.SCORE: (
        "Score samples",
        "Trains a model on the train split, measures on the way how much each sample moves it, and sorts the"
        " samples into core, edge and noise.",
    ),
    JobKind.GROW: (
        "Grow a core",
        "Starts from a small core and lets it grow round by round, as long as the validation split gains.",
    ),
    JobKind.TRAIN: ("Train a model", "Trains a model on the sets that you name, and keeps it."),
    JobKind.COMPARE: (
        "Compare sets",
        "Trains on several sets with several seeds, and tells whether one is as good as all.",
    ),
    JobKind.IMPORT: ("Import files", "Reads samples from files or object stores that the service may read."),
    JobKind.CLEAN: (
        "Check the samples",
        "Looks for duplicates, leaks between splits, empty texts and the like, and flags them; nothing is"
        " deleted.",
    ),
    JobKind.SPLIT: (
        "Split the samples",
        "Puts samples into train, validation and test by label, by group or by time.",
    ),
    JobKind.LABEL: ("Label behaviour logs", "Turns what users did into graded samples."),
}


class JobKindOut(BaseModel):
    kind: JobKind
    title: str
    description: str
    trains: bool = Field(description="Whether it trains a model: only then a job may name one.")
    params: dict[str, Any] = Field(
        description="A JSON schema: type, default, bounds and a description for each parameter."
    )


class JobKinds(BaseModel):
    items: list[JobKindOut]


@cache
def job_kinds() -> JobKinds:
    return JobKinds(
        items=[
            JobKindOut(
                kind=kind,
                title=_WORDS[kind][0],
                description=_WORDS[kind][1],
                trains=kind.trains,
                params=_schema(params),
            )
            for kind, params in PARAMS.items()
        ]
    )


def _schema(params: type[JobParams]) -> dict[str, Any]:
    """With the defaults that are made when they are needed, which pydantic leaves out."""
    schema = params.model_json_schema()
    for name, field in params.model_fields.items():
        if field.default_factory is not None:
            made = to_jsonable_python(field.get_default(call_default_factory=True, validated_data={}))
            schema["properties"][field.alias or name]["default"] = made
    return schema
