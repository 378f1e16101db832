"""Commands about what is wrong with samples: look for it, and show what was found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.jobs import start_job, watch_job
from app.cli.options import DEFAULT_URL, ApiKey, Params, Url, connect, read_params
from app.cli.outcome import note

if TYPE_CHECKING:
    from app.client import Json

DatasetName = Annotated[str, typer.Argument(help="Name of the dataset.")]
_SPLITS = ("train", "validation", "test")


def clean(
    dataset: DatasetName,
    param: Params = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job, and show what it found.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Start a clean job: look for duplicates, conflicting labels, leaks and damaged texts. Changes no sample.

    Example: gradsift clean reviews --param near_duplicate_threshold=0.9 --watch
    """
    with connect(url, api_key) as client:
        job_id = start_job(client, "clean", dataset, None, read_params(param))
        if not watch:
            return
        code = watch_job(client, job_id)
        if code == 0:
            _show(client.cleaning(dataset))
    raise typer.Exit(code)


def cleaning(
    dataset: DatasetName,
    examples: Annotated[int, typer.Option(min=0, max=100, help="Of each flag, at most.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="The whole report as JSON.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Show what the last clean job found, with examples, and what the dataset's settings leave out.

    Example: gradsift cleaning reviews --examples 5
    """
    with connect(url, api_key) as client:
        report = client.cleaning(dataset)
    if as_json:
        print(json.dumps(report, ensure_ascii=False))
        return
    _show(report)
    _show_examples(report, examples)


def _show(report: Json) -> None:
    from app.cli.tables import print_table

    excluding = set(report["exclude_flags"])
    rows = [
        [name, count["samples"], *(count[split] for split in _SPLITS), "yes" if name in excluding else ""]
        for name, count in report["flags"].items()
    ]
    print_table(["flag", "samples", *_SPLITS, "excludes"], rows, empty="no flags")
    seen = (
        f"{report['flagged']} of {report['samples']} samples have a flag, {report['unchecked']} are unchecked"
    )
    note(f"{seen}; {report['excluded']} train samples are left out of training")


def _show_examples(report: Json, most: int) -> None:
    from app.cli.tables import print_table

    rows = [
        [flag, one["id"], one["label"], _words(one), *_other(one["of"])]
        for flag, found in report["examples"].items()
        for one in found[:most]
    ]
    if rows:
        print()
        print_table(["flag", "id", "label", "text", "of", "its label", "its text"], rows, empty="")


def _other(of: Json | None) -> list[object]:
    return ["", "", ""] if of is None else [of["id"], of["label"], _words(of)]


def _words(one: Json) -> str:
    return str(one["text"]) if one["text_pair"] is None else f"{one['text']} | {one['text_pair']}"
