"""`gradsift usage`: what datasets take up."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.options import DEFAULT_URL, ApiKey, Url, connect
from app.cli.outcome import note

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def usage(
    dataset: Annotated[str | None, typer.Argument(help="One dataset, by part; all when left out.")] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Show what a dataset takes up on disk and in Redis, or what each of them does.

    Example: gradsift usage reviews
    """
    from app.cli.tables import print_table

    with connect(url, api_key) as client:
        if dataset is not None:
            held = client.usage(dataset)
            print_table(["part", "bytes", ""], _parts(held), empty="")
            _note_what_is_kept(held)
            return
        found = {one["name"]: client.usage(one["name"]) for one in client.datasets()}
    rows = [
        [
            name,
            held["files_total"],
            _short(held["files_total"]),
            held["redis_total"],
            _short(held["redis_total"]),
        ]
        for name, held in found.items()
    ]
    print_table(["dataset", "files", "", "redis", ""], rows, empty="no datasets")


def _parts(held: dict[str, Any]) -> list[list[object]]:
    parts = [(f"files: {name}", size) for name, size in held["files"].items() if size]
    parts += [(f"redis: {name}", part["bytes"]) for name, part in held["redis"].items() if part["bytes"]]
    parts += [("files, all", held["files_total"]), ("redis, all", held["redis_total"])]
    return [[name, size, _short(size)] for name, size in parts]


def _note_what_is_kept(held: dict[str, Any]) -> None:
    note(f"{held['versions']} versions of the samples")
    if held["pinned"]:
        note(f"kept for: {', '.join(held['pinned'])}")
    if held["deletions_pending"]:
        note(f"{held['deletions_pending']} deleted samples may still be found in files")


def _short(size: float) -> str:
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
