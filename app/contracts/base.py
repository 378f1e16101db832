"""Of what the contracts are made: models, and JSON's own types."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Timestamp = Annotated[datetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]


class Strict(BaseModel):
    """Unknown fields are refused: a misspelt parameter must not be ignored silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Record(BaseModel):
    """What we wrote ourselves and read back."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is no character") from None
    return text


# JSON has types of its own: "3" is no number, 1 is no boolean, and a lone surrogate cannot be stored.
Text = Annotated[str, Field(strict=True), AfterValidator(_encodable)]
Count = Annotated[int, Field(strict=True)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
ConfigValue = Text | Count | Real | Flag | None
