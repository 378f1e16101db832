"""Commands for disasters, and for the days before them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.outcome import FAILED, SUCCEEDED, note, show_error
from app.cli.parts import DataDir
from app.errors import GradSiftError

if TYPE_CHECKING:
    from app.services.rebuild import Rebuilt
    from app.services.verify import Finding
    from app.store.state import State

UNCHECKED = 2
"""`verify` could not look at everything."""
Datasets = Annotated[list[str] | None, typer.Argument(help="Datasets; all of them when left out.")]
Show = Callable[[str, int, int], None]


def rebuild(
    datasets: Datasets = None,
    data_dir: DataDir = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Make anew what Redis holds already, instead of refusing.")
    ] = False,
) -> None:
    """Make the Redis state anew from the samples and the archive, to the same bytes.

    For a Redis that is lost or damaged. `gradsift up` must not run on the data directory; with
    GRADSIFT_REDIS_URL that server is filled, and workers of the time before are refused from then on. Jobs
    that had not ended are queued again and resume from their checkpoints. Exit code 0: rebuilt; 1: not.

    Example: gradsift rebuild --data-dir ./gradsift-data
    """
    from app.services.audit import audit_deed
    from app.services.rebuild import rebuild as run

    with opened_state(data_dir, alone=True) as state, _progress() as show:
        done, jobs = run(state, datasets or [], replace=replace, report=show)
        audit_deed(state, "state.rebuild", datasets=len(done), jobs=jobs)
    _print_rebuilt(done, jobs)


def verify(
    datasets: Datasets = None,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Findings as JSON, one a line.")] = False,
) -> None:
    """Check every invariant of the state, beside a running service or without one. Changes nothing.

    Exit code 0: all is well; 1: something is wrong, and is told with its dataset, key and sample; 2: not
    everything could be checked.

    Example: gradsift verify --data-dir ./gradsift-data
    """
    from app.services.verify import verify as run
    from app.store.connections import TRANSIENT

    found = 0
    try:
        with opened_state(data_dir) as state, _progress() as show:
            for finding in run(state, datasets or [], lambda what: show(what, 0, 0)):
                found += 1
                print(json.dumps(asdict(finding)) if as_json else _line(finding), flush=True)
    except GradSiftError as error:
        show_error(error)
        raise typer.Exit(UNCHECKED) from error
    except TRANSIENT as error:
        note(f"error: Redis does not answer: {error}")
        raise typer.Exit(UNCHECKED) from error
    note("nothing is wrong" if not found else f"{found} findings")
    raise typer.Exit(FAILED if found else SUCCEEDED)


def backup(
    to: Annotated[str, typer.Argument(help="A new or empty directory, or an object-store URL.")],
    data_dir: DataDir = None,
) -> None:
    """Copy the whole state, beside a running service or without one.

    Models under <data dir>/models are not part of it. A backup without its backup.json is none.

    Example: gradsift backup /backups/2026-11-25 --data-dir ./gradsift-data
    """
    from app.services.audit import audit_deed
    from app.services.backup import backup as run

    with opened_state(data_dir) as state, _progress() as show:
        done = run(state, to, lambda what: show(what, 0, 0))
        audit_deed(state, "state.backup", datasets=done.datasets, jobs=done.jobs)
    print(f"{done.datasets} datasets, {done.jobs} jobs, {done.files} files, {done.size} bytes in {to}")


def restore(
    source: Annotated[str, typer.Argument(metavar="FROM", help="What `gradsift backup` wrote.")],
    data_dir: DataDir = None,
) -> None:
    """Bring a backup back into a new data directory, and with GRADSIFT_REDIS_URL into an empty Redis.

    The whole backup is checked before anything is written. Exit code 0: restored; 1: not.

    Example: gradsift restore /backups/2026-11-25 --data-dir ./gradsift-data
    """
    from app.services.audit import audit_deed
    from app.services.restore import restore as run

    with opened_state(data_dir, alone=True, new=True) as state, _progress() as show:
        done, jobs = run(state, source, show)
        audit_deed(state, "state.restore", datasets=len(done), jobs=jobs)
    _print_rebuilt(done, jobs)


@contextmanager
def opened_state(data_dir: Path | None, *, alone: bool = False, new: bool = False) -> Iterator[State]:
    """The state of a service that runs, or of one that does not."""
    from app.cli.environment import load_settings
    from app.logs import configure_logging
    from app.up import attached

    settings = load_settings()
    configure_logging(settings, part="recovery")
    with attached(settings, data_dir, alone=alone, new=new) as state:
        yield state


def _print_rebuilt(done: list[Rebuilt], jobs: int) -> None:
    for one in done:
        print(f"{one.dataset}: {one.samples} samples, {one.shards} score shards, {one.versions} set versions")
    print(f"{len(done)} datasets, {jobs} jobs")


def _line(finding: Finding) -> str:
    places = {"dataset": finding.dataset, "sample": finding.sample, "key": finding.key}
    where = ", ".join(f"{name} {place}" for name, place in places.items() if place is not None)
    return f"{finding.check}: {finding.detail}" + (f" ({where})" if where else "")


@contextmanager
def _progress() -> Iterator[Show]:
    """A bar in a terminal, else a line for each thing that is begun."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines().show
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), console=console) as progress:
        bar = progress.add_task("", total=None)

        def show(what: str, done: int, total: int) -> None:
            progress.update(bar, description=what, completed=done, total=total or None)

        yield show


class _Lines:
    def __init__(self) -> None:
        self._last = ""

    def show(self, what: str, _done: int, _total: int) -> None:
        if what != self._last:
            note(what)
        self._last = what
