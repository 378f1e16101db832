"""`gradsift predict`: what a trained model says of texts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import DEFAULT_URL, ApiKey, Url, connect
from app.cli.outcome import PARTLY, SUCCEEDED, note
from app.errors import GradSiftError

if TYPE_CHECKING:
    from app.client import Client, Json

BATCH_TEXTS = 256
"""As many as a request may have."""


def predict(
    dataset: Annotated[str, typer.Argument(help="Dataset whose trained model is asked.")],
    text: Annotated[list[str] | None, typer.Option(help="A text. May be repeated.")] = None,
    text_pair: Annotated[
        list[str] | None, typer.Option(help="The second text of each --text, for a model of pairs.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Texts from a file: CSV (.csv, .csv.gz) or NDJSON (.ndjson, .jsonl).")
    ] = None,
    column: Annotated[str, typer.Option(help="With --file: column of the text.")] = "text",
    pair_column: Annotated[str | None, typer.Option(help="With --file: column of the second text.")] = None,
    job: Annotated[
        str | None, typer.Option(help="Train job whose model is asked; the newest when left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Predictions as JSON, one a line.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Ask a trained model for the labels of texts: of --text, of --file, or of standard input, one a line.

    Exit code 3: some rows of the file could not be read.

    Example: gradsift predict reviews --text "soft and lovely" --text "it came apart"
    """
    skipped: list[tuple[int, str]] = []
    texts = _from_file(file, column, pair_column, skipped) if file else _given(text, text_pair)
    with connect(url, api_key) as client:
        _show(_predictions(client, dataset, texts, job), as_json=as_json)
    for number, reason in skipped:
        note(f"row {number}: {reason}")
    raise typer.Exit(PARTLY if skipped else SUCCEEDED)


def _given(texts: list[str] | None, pairs: list[str] | None) -> Iterator[Json]:
    if texts is None and sys.stdin.isatty():
        raise typer.BadParameter("give --text, --file, or texts on standard input", param_hint="--text")
    if pairs and len(pairs) != len(texts or []):
        raise typer.BadParameter("give one for each --text, or none", param_hint="--text-pair")
    lines = _lines_of_input() if texts is None else iter(texts)
    seconds = iter(pairs or [])
    return ({"text": line, "text_pair": next(seconds, None)} for line in lines)


def _lines_of_input() -> Iterator[str]:
    try:
        for line in sys.stdin.buffer:
            yield line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        remedy = "Send UTF-8, one text a line."
        raise GradSiftError("unreadable_file", f"standard input: {error}", remedy=remedy) from error


def _from_file(
    file: Path, column: str, pair_column: str | None, skipped: list[tuple[int, str]]
) -> Iterator[Json]:
    from app.cli.rows import Columns, SampleFile

    with SampleFile(file, Columns(text=column, text_pair=pair_column)) as rows:
        for row in rows.rows():
            if row.problem is not None:
                skipped.append((row.number, row.problem))
            else:
                yield {"text": row.fields.get("text", ""), "text_pair": row.fields.get("text_pair")}


def _predictions(client: Client, dataset: str, texts: Iterable[Json], job: str | None) -> Iterator[Json]:
    """Each text with its prediction, all of one job's model, whatever is trained meanwhile."""
    waiting = iter(texts)
    count = 0
    while batch := list(islice(waiting, BATCH_TEXTS)):
        answer = client.predict(dataset, batch, job=job)
        job = answer["job"]
        count += len(batch)
        for text, prediction in zip(batch, answer["predictions"], strict=True):
            yield text | prediction
    if count:
        note(f"{count} by the model of {job}")


def _show(predictions: Iterator[Json], *, as_json: bool) -> None:
    if as_json:
        for one in predictions:
            print(json.dumps(one, ensure_ascii=False))
        return
    from app.cli.tables import print_table

    rows = list(predictions)
    graded = any("grade" in one for one in rows)
    names = ["label", "probability", *(["grade"] if graded else []), "text"]
    shown: list[list[Any]] = [[one[name] for name in names] for one in rows]
    print_table(names, shown, empty="there are no texts")
