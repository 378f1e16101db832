"""`gradsift submit`: a file's rows become samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.jobs import start_job, watch_job
from app.cli.options import DEFAULT_URL, ApiKey, Model, Params, Url, connect, read_params
from app.cli.outcome import FAILED, PARTLY, SUCCEEDED, note

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.cli.rows import SampleFile
    from app.client import Client

BATCH_ROWS = 2_000
ERRORS_SHOWN = 5


class TaskName(StrEnum):
    classification = "classification"
    relevance = "relevance"


def submit(
    file: Annotated[Path, typer.Argument(help="CSV (.csv, .csv.gz) or NDJSON (.ndjson, .jsonl, .gz).")],
    dataset: Annotated[str, typer.Option(help="Name of the dataset; created where it does not exist.")],
    text: Annotated[str, typer.Option(help="Column of the text.")],
    label: Annotated[str | None, typer.Option(help="Column of the label.")] = None,
    id: Annotated[
        str | None, typer.Option(help="Column of the id; row-000001 and so on when left out.")
    ] = None,
    text_pair: Annotated[str | None, typer.Option(help="Column of the second text.")] = None,
    group: Annotated[str | None, typer.Option(help="Column of the group, such as the query.")] = None,
    split: Annotated[str | None, typer.Option(help="Column of train, validation or test.")] = None,
    task: Annotated[TaskName, typer.Option(help="Labels are classes, or grades of relevance.")] = (
        TaskName.classification
    ),
    score: Annotated[bool, typer.Option("--score", help="Start a score job when all rows are sent.")] = False,
    model: Model = None,
    param: Params = None,
    watch: Annotated[bool, typer.Option("--watch", help="With --score: follow the job to its end.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Send a file of labelled samples.

    Sending a row again changes nothing, so an interrupted submit is simply repeated. Exit code 0: all rows
    are stored; 3: some were rejected; 1: none was stored.

    Example: gradsift submit reviews.csv --dataset reviews --text body --label recommended --score --watch
    """
    from app.cli.rows import Columns, SampleFile

    params = read_params(param)
    columns = Columns(text=text, label=label, id=id, text_pair=text_pair, group=group, split=split)
    with connect(url, api_key) as client, SampleFile(file, columns, task is TaskName.relevance) as samples:
        outcome = _send(client, dataset, task, samples)
        if score and outcome != FAILED:
            job_id = start_job(client, "score", dataset, model, params)
            outcome = watch_job(client, job_id) or outcome if watch else outcome
    raise typer.Exit(outcome)


def _send(client: Client, dataset: str, task: TaskName, samples: SampleFile) -> int:
    counts = dict.fromkeys(("received", "created", "updated", "unchanged"), 0)
    rejected: list[tuple[int, str]] = []
    rejected_total = 0
    with _progress(samples) as advance:
        for batch in _batches(samples.rows(), BATCH_ROWS):
            if not counts["received"]:  # not before the file has shown that it can be read
                client.put_dataset(dataset, {"task": task.value})
            answer = client.send_samples(dataset, (row for _, row in batch))
            for name in counts:
                counts[name] += answer.get(name, 0)
            refused = answer.get("rejected") or answer.get("errors") or []
            rejected_total += answer.get("rejected_total", len(refused))
            rejected += [(batch[item["index"]][0], item["detail"]) for item in refused[:ERRORS_SHOWN]]
            advance(counts["received"])
    rejected_total += len(samples.skipped)
    counts["received"] += len(samples.skipped)
    print(", ".join(f"{count} {name}" for name, count in counts.items()) + f", {rejected_total} rejected")
    first = sorted(rejected + samples.skipped)[:ERRORS_SHOWN]
    for number, detail in first:
        note(f"row {number} rejected: {detail}")
    if rejected_total > len(first):
        note(f"and {rejected_total - len(first)} more rejected rows")
    if rejected_total < counts["received"]:
        return PARTLY if rejected_total else SUCCEEDED
    note("error: no row was stored" if rejected_total else f"error: {samples.path} holds no rows")
    return FAILED


def _batches(
    rows: Iterable[tuple[int, dict[str, Any]]], size: int
) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, size)):
        yield batch


@contextmanager
def _progress(samples: SampleFile) -> Iterator[Callable[[int], None]]:
    """A bar over the file's bytes, in a terminal; gives the function that moves it on."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("sending"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}% {task.fields[rows]:,} rows"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=samples.size or 1, rows=0)
        yield lambda rows: progress.update(bar, completed=samples.bytes_read, rows=rows)
