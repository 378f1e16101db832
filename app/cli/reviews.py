"""Commands for reviewers: what to look at, and what it came to."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from app.cli.options import DEFAULT_URL, ApiKey, Url, connect
from app.cli.outcome import note


class Verdict(StrEnum):
    correct = "correct"
    wrong = "wrong"
    unsure = "unsure"


DatasetName = Annotated[str, typer.Argument(help="Name of the dataset.")]
_COLUMNS = ("id", "label", "suggested_label", "noise_probability", "set", "reason", "importance", "text")


def review(
    dataset: DatasetName,
    id: Annotated[str, typer.Argument(metavar="ID", help="The sample.")],
    verdict: Annotated[Verdict, typer.Argument(help="Whether its label is right.")],
    label: Annotated[str | None, typer.Option(help="With `wrong`: the label that it should have.")] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Record a verdict on a sample's label. A label that is given replaces the sample's.

    Example: gradsift review reviews 21244 wrong --label 1
    """
    with connect(url, api_key) as client:
        made = client.review(dataset, id, verdict.value, label)
    changed = "" if made["new_label"] is None else f", now {made['new_label']}"
    print(f"{made['id']}: {made['label']} is {made['verdict']}{changed}")


def review_queue(
    dataset: DatasetName,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Rows as JSON, one a line.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Show the samples whose verdict would teach most, with the label that the model suggests.

    Example: gradsift review-queue reviews --limit 50
    """
    from app.cli.tables import print_table

    with connect(url, api_key) as client:
        queue = client.review_queue(dataset, limit=limit)
    if as_json:
        for item in queue["items"]:
            print(json.dumps(item, ensure_ascii=False))
    else:
        rows = [[item[name] for name in _COLUMNS] for item in queue["items"]]
        header = [name.replace("_", " ") for name in _COLUMNS]
        print_table(header, rows, empty="nothing is left to review")
    note(f"{len(queue['items'])} of version {queue['version']}")
