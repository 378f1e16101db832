"""`gradsift explain`: why a sample is where it is."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from app.cli.options import DEFAULT_URL, ApiKey, Url, connect

LONGEST = 90
"""Characters of another sample's text."""
TOKENS = 15


def explain(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset.")],
    id: Annotated[str, typer.Argument(metavar="ID", help="The sample.")],
    attributions: Annotated[
        bool, typer.Option("--attributions", help="Ask the newest trained model what each word says to it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All of it, as JSON.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Say why a sample is in its set: the rule, its visits, its neighbours, whom it helps and hurts.

    Example: gradsift explain reviews 21244
    """
    with connect(url, api_key) as client:
        told = client.explanation(dataset, id, attributions=attributions)
    if as_json:
        print(json.dumps(told, ensure_ascii=False))
        return
    for line in _lines(told):
        print(line)


def _lines(told: dict[str, Any]) -> list[str]:
    lines = [f"{told['id']}: {told['set']} ({told['reason']})", told["rule"]]
    said = {"label": told["label"], "the evidence suggests": told["suggested_label"]}
    said |= {"the model said": told["model_label"], "a reviewer said": told["review"]}
    lines.append(", ".join(f"{name} {value}" for name, value in said.items() if value is not None))
    if told["rank"] is not None:
        rank = told["rank"]
        lines.append(
            f"importance {told['importance']:.4g}: {rank['overall']} of {rank['of']}, "
            f"{rank['within_label']} of the {rank['of_label']} with its label"
        )
    if told["trajectory"]:
        lines.append("\nvisits: run, epoch, gradient norm, loss, probability of the label")
        lines += [
            f"  {visit['run']:>3} {visit['epoch']:>3} {visit['grad_norm']:>9.4f} {visit['loss']:>8.4f} "
            f"{visit['confidence']:>6.1%}"
            for visit in told["trajectory"]
        ]
    for title, name, value in (
        ("nearest neighbours", "neighbours", "similarity"),
        ("validation samples that it helps", "helps", "alignment"),
        ("validation samples that it hurts", "hurts", "alignment"),
    ):
        if told[name]:
            lines += ["", title, *(_other(one, one[value]) for one in told[name])]
    if told["attributions"] is not None:
        lines += _attributions(told["attributions"])
    return lines


def _attributions(told: dict[str, Any]) -> list[str]:
    """The tokens that say most, either way."""
    strongest = sorted(told["attributions"], key=lambda one: -abs(one["value"]))[:TOKENS]
    title = f"what speaks for {told['label']} ({told['probability']:.0%}, the model of {told['job']})"
    return ["", title, *(f"  {one['value']:+.3f}  {one['token']}" for one in strongest)]


def _other(one: dict[str, Any], value: float) -> str:
    text = " ".join(f"{one['text']} {one['text_pair'] or ''}".split())
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST].rstrip()} …"
    return f"  {value:+.2f}  {one['label']}  {one['id']}: {shown}"
