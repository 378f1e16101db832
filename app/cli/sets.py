"""Commands about sets: look, and take away as a file."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import DEFAULT_URL, ApiKey, Url, connect
from app.cli.outcome import note
from app.cli.writing import destination


class SetChoice(StrEnum):
    core = "core"
    edge = "edge"
    noise = "noise"


class Format(StrEnum):
    ndjson = "ndjson"
    csv = "csv"
    parquet = "parquet"


DatasetName = Annotated[str, typer.Argument(help="Name of the dataset.")]
VersionOption = Annotated[
    int | None, typer.Option(min=1, help="A version that is kept; the newest if left out.")
]


def sets(
    dataset: DatasetName,
    set: Annotated[SetChoice | None, typer.Option(help="Show members of this set.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="With --set: how many.")] = 10,
    version: VersionOption = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Show the versions of a dataset's sets with their sizes, or the members of one, most important first.

    Example: gradsift sets reviews --set core --limit 20
    """
    from app.cli.tables import print_table

    with connect(url, api_key) as client:
        if set is None:
            versions = client.set_versions(dataset)
            sizes = [[held["sizes"].get(name.value, 0) for name in SetChoice] for held in versions]
            rows = [
                [held["version"], *counts, held["policy"], held["job"], held["created_at"]]
                for held, counts in zip(versions, sizes, strict=True)
            ]
            header = ["version", *(name.value for name in SetChoice), "policy", "job", "created"]
            print_table(header, rows, empty="no sets yet: gradsift score " + dataset)
            return
        page = client.members(dataset, set.value, limit=limit, version=version)
    rows = [
        [item["id"], item["importance"], item["noise_probability"], item["reason"]] for item in page["items"]
    ]
    print_table(["id", "importance", "noise probability", "reason"], rows, empty=f"{set.value} is empty")
    note(f"{len(rows)} of {page['total']} in {set.value}, version {page['version']}")


def export(
    dataset: DatasetName,
    set: Annotated[SetChoice, typer.Argument(metavar="SET", help="core, edge or noise.")],
    format: Annotated[Format, typer.Option(help="Kind of file.")] = Format.ndjson,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; standard output when left out.")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="More columns: text, label, score. Comma-separated or repeated.")
    ] = None,
    version: VersionOption = None,
    keep_formulas: Annotated[
        bool, typer.Option("--keep-formulas", help="CSV with texts as they are: not for spreadsheets.")
    ] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Write a whole set to a file, or to standard output.

    A file appears when it is complete, and not before.

    Example: gradsift export reviews core --format csv --include text,label --output core.csv
    """
    if output is None and format is Format.parquet and sys.stdout.isatty():
        raise typer.BadParameter("parquet is not for a terminal; name a file", param_hint="--output")
    params = {"format": format.value}
    if keep_formulas:
        params["formulas"] = "keep"
    if include:
        params["include"] = ",".join(include)
    if version is not None:
        params["version"] = str(version)
    written = 0
    with (
        connect(url, api_key) as client,
        client.export(dataset, set.value, params) as chunks,
        destination(output) as file,
    ):
        for chunk in chunks:
            written += file.write(chunk)
    if output is not None:
        note(f"{output}: {written} bytes")
