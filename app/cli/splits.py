"""The command that puts samples into train, validation and test."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from app.cli.jobs import Watch, run
from app.cli.options import DEFAULT_URL, ApiKey, Url, connect


class By(StrEnum):
    stratified = "stratified"
    group = "group"
    time = "time"


class Kept(StrEnum):
    validation = "validation"
    test = "test"


Share = typer.Option(min=0, max=1, help="Share of the samples.")


def split(
    dataset: Annotated[str, typer.Argument(help="Dataset whose samples are put into splits.")],
    by: Annotated[By, typer.Option(help="Equal shares of every label, whole groups, or the newest last.")],
    validation: Annotated[float, Share] = 0.1,
    test: Annotated[float, Share] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives another split.")] = 0,
    field: Annotated[
        str | None, typer.Option(help="By time: where it stands. [default: meta.timestamp]")
    ] = None,
    keep: Annotated[
        list[Kept] | None, typer.Option(help="A split that stays as it is. May be repeated.")
    ] = None,
    watch: Watch = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Start a split job: puts every sample into train, validation or test, and later ones by the same rule.

    Once a job has trained on the splits they cannot be replaced.

    Example: gradsift split reviews --by stratified --test 0.2 --watch
    """
    params: dict[str, Any] = {"by": by.value, "validation": validation, "test": test, "seed": seed}
    if field is not None:
        params["field"] = field
    if keep:
        params["keep"] = [one.value for one in keep]
    run("split", dataset, None, params, connect(url, api_key), follow=watch)
