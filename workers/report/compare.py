"""The page of a compare job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.contracts import Job
from app.contracts.expressions import read_set_expression
from workers.report.page import Section, Table, page
from workers.report.plots import confusion, differences, learning_curve

MOST_DRAWN_LABELS = 30
MOST_SLICES = 25
MOST_WARNINGS = 100
NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "auc": "AUC",
    "loss": "log loss",
    "mrr": "MRR",
    "map": "MAP",
}


def compare_page(job: Job, result: Mapping[str, Any]) -> str:
    """HTML of a compare job's result."""
    params = job.params
    facts = {
        "Job": job.id,
        "Model": f"{job.model} (revision {result['model_revision']})",
        "Samples": f"version {result['data_version']}: {result['train_samples']} to train on, "
        f"{result['test_samples']} to test on",
        "Trainings": f"{len(result['subsets'])} subsets × {params['seeds']} seeds, {_steps(result)}",
    }
    return page(f"{job.dataset}: which samples are enough?", facts, list(_sections(params, result)))


def _sections(params: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[Section]:
    metric = result["metric"]
    yield Section("In short", points=result["verdict"] or ["There was nothing to compare."])
    points = [
        {
            "name": one["subset"],
            "samples": one["samples"],
            "random": read_set_expression(one["subset"]).random,
            **one["metrics"][metric],
        }
        for one in result["subsets"]
    ]
    yield Section(
        "Learning curve",
        f"Test split, {metric_name(metric)}: mean and 95 % interval over the seeds. Dotted: without a model.",
        plot=learning_curve(points, metric_name(metric), result["without_a_model"]["value"]),
        alt="; ".join(f"{p['name']}: {p['mean']:.3f} with {p['samples']} samples" for p in points),
    )
    if result["comparisons"]:
        yield Section(
            "Differences",
            "An interval is over other seeds and other test samples. One that holds 0 proves nothing.",
            plot=differences(result["comparisons"], params["margin"]),
            alt="; ".join(result["verdict"]),
        )
    yield Section("All figures", "Mean over the seeds (95 % interval).", tables=[_figures(result)])
    slices = _slices(result)
    if slices is not None:
        yield slices
    for one in result["subsets"]:
        if "confusion" in one and len(result["labels"]) <= MOST_DRAWN_LABELS and not _is_random(one):
            names = [str(label) for label in result["labels"]]
            yield Section(
                f"Confusions: {one['subset']}",
                "Shares of each label's test samples, summed over the seeds.",
                plot=confusion(one["confusion"], names),
                alt="Confusion matrix",
            )


def _is_random(one: Mapping[str, Any]) -> bool:
    return read_set_expression(one["subset"]).random


def _figures(result: Mapping[str, Any]) -> Table:
    names = list(result["subsets"][0]["metrics"])
    rows = [
        [one["subset"], one["samples"], one["steps"], *(_interval(one["metrics"][name]) for name in names)]
        for one in result["subsets"]
    ]
    head = ["subset", "samples", "steps", *(metric_name(name) for name in names)]
    return Table(head, rows, frozenset(range(1, len(head))))


def _slices(result: Mapping[str, Any]) -> Section | None:
    """Differences by slice, warnings first, then those that are furthest from the rest on the losing side."""
    pairs = [(one, part) for one in result["comparisons"] for part in one["slices"]]
    if not pairs:
        return None
    pairs.sort(key=lambda pair: (not pair[1]["warning"], pair[1]["excess"] or 0.0))
    warned, metric = sum(part["warning"] for _, part in pairs), result["metric"]
    shown = pairs[: max(MOST_SLICES, min(warned, MOST_WARNINGS))]
    rows = [
        [
            one["subset"],
            one["baseline"],
            f"{part['by']}: {part['value']}",
            part["count"],
            f"{part[metric]:.3f}",
            _points(part),
            "–" if part["excess"] is None else f"{100 * part['excess']:+.1f}",
            "loses more" if part["warning"] else "",
        ]
        for one, part in shown
    ]
    head = [
        "subset",
        "against",
        "slice",
        "of test",
        metric_name(metric),
        "difference, points",
        "to the rest",
        "",
    ]
    table = Table(head, rows, frozenset({3, 4, 5, 6}))
    return Section("By slice", _about_slices(result, len(pairs), len(shown), warned), tables=[table])


def _about_slices(result: Mapping[str, Any], told: int, shown: int, warned: int) -> str:
    text = (
        f"{warned} of {told} lose more than their share: more than the margin beyond what all lose, and more "
        "than the rest by more than chance would, however many slices are looked at."
    )
    if shown < told:
        text += f" The first {shown} are shown; report.json has all."
    small = [f"{one['too_small']} by {one['by']}" for one in result["slicings"] if one["too_small"]]
    if small:
        text += f" Left out, with fewer than {result['slicings'][0]['least']}: {', '.join(small)}."
    return text


def metric_name(metric: str) -> str:
    """As readers know it."""
    return NAMES.get(metric, metric.upper() if metric.startswith("ndcg") else metric)


def _interval(value: Mapping[str, float | None]) -> str:
    if value["mean"] is None:
        return "–"
    if value["low"] is None:
        return f"{value['mean']:.3f}"
    return f"{value['mean']:.3f}\n({value['low']:.3f}–{value['high']:.3f})"


def _points(one: Mapping[str, float]) -> str:
    return f"{100 * one['difference']:+.1f} ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})"


def _steps(result: Mapping[str, Any]) -> str:
    steps = {one["steps"] for one in result["subsets"]}
    return f"{steps.pop()} steps each" if len(steps) == 1 else "as many epochs each"
