"""What a client may ask of an import job."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from app.contracts.base import Text
from app.contracts.params.budget import BudgetParams

SampleField = Literal["id", "text", "text_pair", "label", "group", "split", "weight"]
Column = Annotated[Text, Field(min_length=1, max_length=1024)]


class ImportParams(BudgetParams):
    """Files that the service itself reads."""

    url: Annotated[Text, Field(min_length=1, max_length=4096)] = Field(
        description="A file, a folder or a pattern (`*`, `?`, `[…]`): a path below `<data dir>/imports`, or "
        "a path or URL that GRADSIFT_IMPORT_URLS allows. Several files are read in the order of their names."
    )
    format: Literal["ndjson", "csv", "parquet"] | None = Field(
        default=None, description="Null: by each file's name."
    )
    compression: Literal["gzip", "zstd", "none"] | None = Field(
        default=None, description="Null: by each file's name (`.gz`, `.zst`)."
    )
    columns: dict[SampleField, Column] = Field(
        default_factory=dict,
        description="Field of a sample → the file's column. A field that is not named here is read from the "
        "column of its own name; all other columns become `meta`.",
    )
    ids: Literal["column", "rows"] = Field(
        default="column", description="`rows`: made of the file's name and the row's number."
    )
    delimiter: Text | None = Field(
        default=None, description="Of CSV, one character; null: a comma, in `.tsv` a tab."
    )

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        if value is not None and (len(value) != 1 or value in '"\r\n\0'):
            raise ValueError("a delimiter is one character, and neither a quote nor a line end")
        return value
