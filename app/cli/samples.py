"""`gradsift submit`: a file's rows become samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.jobs import start_job, watch_job
from app.cli.options import DEFAULT_URL, ApiKey, Model, Params, Url, connect, read_params
from app.cli.outcome import FAILED, INTERRUPTED, PARTLY, SUCCEEDED, note
from app.errors import GradSiftError

if TYPE_CHECKING:
    from app.cli.rows import FileRow, SampleFile
    from app.cli.submit_state import Sent, SubmitState
    from app.client import Client

BATCH_ROWS = 2_000
BATCH_CHARS = 8_000_000


class TaskName(StrEnum):
    classification = "classification"
    relevance = "relevance"


def submit(
    file: Annotated[
        Path,
        typer.Argument(
            help="Parquet, CSV or NDJSON, by its name (.parquet, .csv, .tsv, .ndjson, .jsonl, .json) or else "
            "by how it begins; all but Parquet also packed (.gz, .zst)."
        ),
    ],
    dataset: Annotated[str, typer.Option(help="Name of the dataset; created where it does not exist.")],
    text: Annotated[str, typer.Option(help="Column of the text.")],
    label: Annotated[str | None, typer.Option(help="Column of the label.")] = None,
    id: Annotated[
        str | None, typer.Option(help="Column of the id; row-000001 and so on when left out.")
    ] = None,
    text_pair: Annotated[str | None, typer.Option(help="Column of the second text.")] = None,
    group: Annotated[str | None, typer.Option(help="Column of the group, such as the query.")] = None,
    split: Annotated[str | None, typer.Option(help="Column of train, validation or test.")] = None,
    meta: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Column that is kept with the sample. May be repeated."),
    ] = None,
    task: Annotated[TaskName, typer.Option(help="Labels are classes, or grades of relevance.")] = (
        TaskName.classification
    ),
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, whatever an interrupted submit has sent.")
    ] = False,
    score: Annotated[bool, typer.Option("--score", help="Start a score job when all rows are sent.")] = False,
    model: Model = None,
    param: Params = None,
    watch: Annotated[bool, typer.Option("--watch", help="With --score: follow the job to its end.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Send a file of labelled samples.

    An interrupted submit goes on after the last rows that were answered when the same command is given again,
    unless the file has changed. Exit code 0: all rows are stored; 3: some were rejected; 1: none was stored;
    130: Ctrl-C.

    Example: gradsift submit reviews.csv --dataset reviews --text body --label recommended --score --watch
    """
    from app.cli.rows import Columns, SampleFile

    params = read_params(param)
    columns = Columns(text, label, id, text_pair, group, split, tuple(meta or ()))
    with connect(url, api_key) as client, SampleFile(file, columns, task is TaskName.relevance) as samples:
        outcome = _send(client, dataset, task, samples, restart=restart)
        if score and outcome in (SUCCEEDED, PARTLY):
            job_id = start_job(client, "score", dataset, model, params)
            outcome = watch_job(client, job_id) or outcome if watch else outcome
    raise typer.Exit(outcome)


def _send(client: Client, dataset: str, task: TaskName, samples: SampleFile, *, restart: bool) -> int:
    from app.cli.submit_state import Sent

    rows = samples.rows()
    first = list(islice(rows, BATCH_ROWS))
    if not first:
        note(f"error: {samples.path} holds no rows")
        return FAILED
    # Not before the file has shown that it can be read.
    made_at = str(client.put_dataset(dataset, {"task": task.value})["created_at"])
    state = _state(client, dataset, made_at, task, samples)
    sent = Sent() if restart else state.load()
    if sent.rows:
        note(f"going on after row {sent.rows}: an earlier call sent those before (--restart begins anew)")
    try:
        _send_rest(client, dataset, samples, chain(first, rows), sent, state)
    except KeyboardInterrupt:
        note(f"\ninterrupted; {_how_to_go_on(sent)}")
        return INTERRUPTED
    except GradSiftError:
        note(_how_to_go_on(sent))
        raise
    state.remove()
    return _tell(sent)


def _state(client: Client, dataset: str, made_at: str, task: TaskName, samples: SampleFile) -> SubmitState:
    from app.cli.submit_state import SubmitState

    return SubmitState(
        {
            "url": client.url,
            "dataset": [dataset, made_at],  # one that is deleted and made again begins anew
            "file": [str(samples.path.resolve()), samples.size, samples.changed_ns],
            "columns": vars(samples.columns),
            "task": task.value,
        }
    )


def _send_rest(
    client: Client,
    dataset: str,
    samples: SampleFile,
    rows: Iterable[FileRow],
    sent: Sent,
    state: SubmitState,
) -> None:
    from app.cli.opened import sending_progress

    with sending_progress(samples) as advance:
        for batch in _batches(islice(rows, sent.rows, None)):
            good = [row for row in batch if row.problem is None]
            answer = client.send_samples(dataset, (row.fields for row in good)) if good else {}
            for name in ("created", "updated", "unchanged"):
                setattr(sent, name, getattr(sent, name) + answer.get(name, 0))
            refused = answer.get("rejected") or answer.get("errors") or []
            wrong = [(row.number, row.problem) for row in batch if row.problem is not None]
            sent.rejected += answer.get("rejected_total", len(refused)) + len(wrong)
            wrong += [(good[item["index"]].number, item["detail"]) for item in refused]
            for number, why in sorted(wrong):
                sent.reject(number, why)
            sent.rows += len(batch)
            state.save(sent)
            advance(sent.rows)


def _how_to_go_on(sent: Sent) -> str:
    if not sent.rows:
        return "no row was sent"
    return f"{sent.rows} rows were sent. The same command goes on after them, with --restart it begins anew."


def _tell(sent: Sent) -> int:
    """The counts of the whole file, whatever calls sent it; the exit code."""
    print(
        f"{sent.rows} received, {sent.created} created, {sent.updated} updated, {sent.unchanged} unchanged, "
        f"{sent.rejected} rejected"
    )
    for number, detail in sent.problems:
        note(f"row {number} rejected: {detail}")
    if sent.rejected > len(sent.problems):
        note(f"and {sent.rejected - len(sent.problems)} more rejected rows")
    if sent.rejected < sent.rows:
        return PARTLY if sent.rejected else SUCCEEDED
    note("error: no row was stored")
    return FAILED


def _batches(rows: Iterator[FileRow]) -> Iterator[list[FileRow]]:
    """Of so many rows, or of fewer long ones: a batch is held in memory."""
    batch: list[FileRow] = []
    chars = 0
    for row in rows:
        batch.append(row)
        chars += sum(len(value) for value in row.fields.values() if isinstance(value, str))
        if len(batch) == BATCH_ROWS or chars >= BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch
