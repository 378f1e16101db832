"""Commands about behaviour logs: events, the catalogue of their items, samples made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.jobs import Watch, start_job, watch_job
from app.cli.options import DEFAULT_URL, ApiKey, Params, Url, connect, read_params
from app.cli.outcome import FAILED, PARTLY, SUCCEEDED, note
from app.cli.samples import TaskName

if TYPE_CHECKING:
    from app.client import Client, Json

ERRORS_SHOWN = 5
File = Annotated[Path, typer.Argument(help="CSV (.csv, .csv.gz) or NDJSON (.ndjson, .jsonl, .gz).")]
Named = Annotated[str, typer.Option("--dataset", help="Name of the dataset; created where it is not there.")]
Task = Annotated[
    TaskName | None,
    typer.Option(help="Of a dataset that is created: graded items (relevance), or behaviours as classes."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="FIELD=COLUMN", help="Where a column has its own name. May be repeated."
    ),
]


def events(
    file: File,
    dataset: Named,
    column: Columns = None,
    task: Task = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Send a behaviour log: who did what with which item, and when.

    Sending a row again changes nothing, so an interrupted upload is simply repeated. Exit code 0: all rows
    are stored; 3: some were rejected; 1: none was stored.

    Example: gradsift events log.csv.gz --dataset shop --column user=customer --column timestamp=at
    """
    with connect(url, api_key) as client:
        outcome = _send(client, "events", file, dataset, task, _columns(column))
    raise typer.Exit(outcome)


def items(
    file: File,
    dataset: Named,
    column: Columns = None,
    task: Task = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Send a catalogue: the text of each item that events name.

    Exit code 0: all rows are stored; 3: some were rejected; 1: none was stored.

    Example: gradsift items catalogue.csv --dataset shop --column text=title
    """
    with connect(url, api_key) as client:
        outcome = _send(client, "items", file, dataset, task, _columns(column))
    raise typer.Exit(outcome)


def label(
    dataset: Annotated[str, typer.Argument(help="Dataset whose events become samples.")],
    param: Params = None,
    watch: Watch = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Start a label job: events become labelled samples, split by time.

    Example: gradsift label shop --param history_length=3 --param max_samples=20000 --watch
    """
    with connect(url, api_key) as client:
        job_id = start_job(client, "label", dataset, None, read_params(param))
        if watch:
            outcome = watch_job(client, job_id)
            _print_made(client.job(job_id)["result"])
            raise typer.Exit(outcome)


def _print_made(result: Json | None) -> None:
    if result is None:
        return
    for name in ("splits", "labels", "left_out"):
        counts = ", ".join(f"{count} {kind}" for kind, count in result[name].items())
        print(f"{name.replace('_', ' ')}: {counts}")


def _columns(texts: list[str] | None) -> list[str]:
    """`["user=uid"]` → `["user:uid"]`, as the service takes it."""
    columns = []
    for text in texts or []:
        field, equals, column = text.partition("=")
        if not equals or not field or not column:
            raise typer.BadParameter(f"{text!r} is not FIELD=COLUMN", param_hint="--column")
        columns.append(f"{field}:{column}")
    return columns


def _put_dataset(client: Client, dataset: str, task: TaskName | None) -> None:
    """Where no task is named, a dataset that is there may have any."""
    from app.client_problems import ServiceProblem

    try:
        client.put_dataset(dataset, {"task": (task or TaskName.relevance).value})
    except ServiceProblem as problem:
        if task is not None or problem.code != "dataset_exists":
            raise


def _send(
    client: Client, what: str, path: Path, dataset: str, task: TaskName | None, columns: list[str]
) -> int:
    from app.cli.opened import sending_progress
    from app.cli.pieces import PieceFile

    counts = dict.fromkeys(("received", "created", "updated", "unchanged", "rejected_total"), 0)
    masked: dict[str, int] = {}
    rejected: list[tuple[int, str]] = []
    with PieceFile(path) as file, sending_progress(file) as advance:
        for piece in file.pieces():
            if not counts["received"]:  # not before the file has shown that it can be read
                _put_dataset(client, dataset, task)
            answer = client.send_rows(dataset, what, piece.body, piece.media_type, columns=columns)
            for name in counts:
                counts[name] += answer.get(name, 0)
            for kind, number in answer.get("masked", {}).items():
                masked[kind] = masked.get(kind, 0) + number
            refused = answer.get("rejected") or answer.get("errors") or []
            rejected += [(piece.first + item["index"], item["detail"]) for item in refused[:ERRORS_SHOWN]]
            advance(counts["received"])
    total = counts.pop("rejected_total")
    print(", ".join(f"{count} {name}" for name, count in counts.items()) + f", {total} rejected")
    if masked:
        print("masked: " + ", ".join(f"{number} {kind}" for kind, number in sorted(masked.items())))
    for number, detail in rejected[:ERRORS_SHOWN]:
        note(f"row {number} rejected: {detail}")
    if total > ERRORS_SHOWN:
        note(f"and {total - ERRORS_SHOWN} more rejected rows")
    if total < counts["received"]:
        return PARTLY if total else SUCCEEDED
    note("error: no row was stored" if total else f"error: {path} holds no rows")
    return FAILED
