"""`gradsift audit`: who did what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import DEFAULT_URL, ApiKey, Url, connect
from app.cli.outcome import note
from app.cli.writing import destination

Time = Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339, such as 2026-11-29T00:00:00Z.")]
app = typer.Typer(
    help="Who did what to which dataset and job.\n\nExample: gradsift audit export --action 'job.*'",
    no_args_is_help=True,
)


@app.callback()
def _audit() -> None:
    """Makes `export` a command of its own, though it is the only one."""


@app.command()
def export(
    since: Time = None,
    until: Time = None,
    dataset: Annotated[str | None, typer.Option(help="Of this dataset.")] = None,
    key: Annotated[str | None, typer.Option(help="By this key: its id or name.")] = None,
    action: Annotated[str | None, typer.Option(help="Such as job.create, or a pattern: 'job.*'.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; standard output when left out.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Write the audit log as NDJSON, oldest entry first. Needs a key with the scope admin.

    Example: gradsift audit export --since 2026-11-29T00:00:00Z --action 'job.*' --output jobs.ndjson
    """
    given = {"since": since, "until": until, "dataset": dataset, "key": key, "action": action}
    params = {name: value for name, value in given.items() if value is not None}
    lines = 0
    with connect(url, api_key) as client, client.audit(params) as chunks, destination(output) as file:
        for chunk in chunks:
            file.write(chunk)
            lines += chunk.count(b"\n")
    if output is not None:
        note(f"{output}: {lines} entries")
