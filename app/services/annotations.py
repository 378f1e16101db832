"""Annotations as Label Studio's JSON export has them: read task by task, so that a bad one stands alone.

https://labelstud.io/guide/task_format
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from app.errors import Invalid, Malformed
from app.ingest.rows import RowError
from app.services.label_studio import CHOICES
from app.store.samples import StoredLabel

_NEVER = datetime.min.replace(tzinfo=UTC)


class _Result(msgspec.Struct):
    from_name: str = ""
    type: str = ""
    value: dict[str, Any] = {}


class _Annotation(msgspec.Struct):
    result: list[_Result] = []
    was_cancelled: bool = False
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def at(self) -> datetime | None:
        """By Label Studio's clock; a time without a zone is UTC, as it writes them."""
        at = self.updated_at or self.created_at
        return at if at is None or at.tzinfo else at.replace(tzinfo=UTC)


class _Task(msgspec.Struct):
    data: dict[str, Any]
    annotations: list[_Annotation] = []


@dataclass(frozen=True)
class Judged:
    """What an annotator chose for a sample, in which row of the file."""

    index: int
    sample_id: str
    choice: StoredLabel
    at: datetime | None

    @property
    def moment(self) -> datetime:
        return self.at or _NEVER


def read_tasks(body: bytes) -> list[msgspec.Raw]:
    """Raises Malformed or Invalid: the body is no list of tasks."""
    try:
        return msgspec.json.decode(body, type=list[msgspec.Raw])
    except msgspec.ValidationError as error:
        detail = "the body is no list of Label Studio's tasks"
        raise Invalid("invalid_request", detail, errors=[{"pointer": "/", "detail": detail}]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed("invalid_json", f"the body is not JSON: {error}") from error


def read_task(index: int, raw: msgspec.Raw, named: Mapping[str, StoredLabel]) -> Judged | None:
    """What was chosen last; None where nobody has annotated the task.

    Args:
        named: the label of each choice.

    Raises:
        RowError: it is no task of ours, or the choice is none of the labels.
    """
    try:
        task = msgspec.json.decode(raw, type=_Task)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RowError("invalid_row", f"no task of Label Studio: {error}", None) from error
    sample_id = task.data.get("id")
    if not isinstance(sample_id, str):
        raise RowError("missing_field", "the task's data has no `id`", None)
    given = [one for one in task.annotations if one.result and not one.was_cancelled]
    if not given:
        return None
    last = max(enumerate(given), key=lambda one: (one[1].at or _NEVER, one[0]))[1]
    chosen = [
        choice
        for result in last.result
        if (result.from_name, result.type) == (CHOICES, "choices")
        for choice in _listed(result.value.get("choices"))
    ]
    if len(chosen) != 1:
        detail = f"one choice under the name {CHOICES!r} is wanted, {len(chosen)} are there"
        raise RowError("invalid_row", detail, sample_id)
    label = named.get(chosen[0]) if isinstance(chosen[0], str) else None
    if label is None:
        raise RowError(
            "unknown_label", f"choice {str(chosen[0])[:256]!r} is no label of the dataset", sample_id
        )
    return Judged(index, sample_id, label, last.at)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
