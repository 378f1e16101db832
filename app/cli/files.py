"""`gradsift download`: the files that a job left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.jobs import JobId
from app.cli.options import DEFAULT_URL, ApiKey, Url, connect
from app.cli.outcome import note
from app.cli.writing import destination, unwritable
from app.errors import GradSiftError


def download(
    job: JobId,
    to: Annotated[
        Path | None, typer.Option(help="Directory to write to; made if need be. Default: JOB.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Fetch all files that a job left, such as a trained model.

    Each file appears when it is complete, and not before.

    Example: gradsift download job_01jcq4zk8e --to model
    """
    folder = Path(job) if to is None else to
    with connect(url, api_key) as client:
        files = client.job_files(job)
        if not files:
            note(f"{job} has left no files")
        for file in files:
            target = place_within(folder, file["name"])
            with client.job_file(job, file["name"]) as chunks, destination(target) as stream:
                for chunk in chunks:
                    stream.write(chunk)
            note(f"{target}: {file['bytes']} bytes")


def place_within(folder: Path, name: str) -> Path:
    """The file's place below the folder. A service says what its files are called, not where they go."""
    target = folder / name
    if not target.resolve().is_relative_to(folder.resolve()):
        raise GradSiftError(
            "unwritable_file",
            f"the service names a file outside of {folder}: {name!r}",
            remedy="Ask whoever runs the service what it is.",
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(target, error) from error
    return target
