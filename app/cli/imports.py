"""`gradsift import`: files that the service itself reads become samples."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.jobs import Watch, start_job, watch_job
from app.cli.options import DEFAULT_URL, ApiKey, Url, connect
from app.cli.samples import TaskName


def import_files(
    source: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="File, folder or pattern, as the service sees it: below <data dir>/imports, or a path or "
            "URL that GRADSIFT_IMPORT_URLS allows.",
        ),
    ],
    dataset: Annotated[str, typer.Option(help="Name of the dataset; created where it does not exist.")],
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=COLUMN", help="Column of a sample's field. May be repeated."),
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="ndjson, csv or parquet; by the name when left out.")
    ] = None,
    compression: Annotated[
        str | None, typer.Option(help="gzip, zstd or none; by the name when left out.")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="Of CSV; a comma when left out.")] = None,
    number_rows: Annotated[
        bool, typer.Option("--number-rows", help="Ids from the file's name and the row's number.")
    ] = False,
    task: Annotated[TaskName, typer.Option(help="Labels are classes, or grades of relevance.")] = (
        TaskName.classification
    ),
    watch: Watch = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Start an import job: the service reads the files itself, and goes on where a worker died.

    Example: gradsift import reviews.parquet --dataset reviews --column text=body --column label=stars --watch
    """
    given: dict[str, Any] = {"format": format, "compression": compression, "delimiter": delimiter}
    params = {"url": source, "columns": _columns(column or []), "ids": "rows" if number_rows else "column"}
    params |= {name: value for name, value in given.items() if value is not None}
    with connect(url, api_key) as client:
        client.put_dataset(dataset, {"task": task.value})
        job_id = start_job(client, "import", dataset, None, params)
        if watch:
            raise typer.Exit(watch_job(client, job_id))


def _columns(texts: list[str]) -> dict[str, str]:
    columns = {}
    for text in texts:
        name, equals, column = text.partition("=")
        if not (name and equals and column):
            raise typer.BadParameter(f"{text!r} is not FIELD=COLUMN", param_hint="--column")
        columns[name.strip()] = column
    return columns
