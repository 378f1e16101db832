"""The page of a train job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from app.contracts import Job, Label
from models.classification import confusion_matrix
from workers.ground import TrainingGround
from workers.report.compare import MOST_DRAWN_LABELS, metric_name
from workers.report.keeping import job_and_result, keep_report
from workers.report.page import Section, Table, page
from workers.report.plots import confusion, loss_by_step
from workers.report.samples import cut, text_of
from workers.score.data import Rows

SHOWN = 15
Logits = NDArray[np.float32]


def report_training(
    ground: TrainingGround,
    result: Mapping[str, Any],
    points: Sequence[Mapping[str, float]],
    tested: tuple[Rows, Logits] | None,
) -> None:
    """points: see `Course`. tested: the test split and what the model says of it (n, classes)."""
    report = training_report(ground.claim.job, result, points, tested)
    keep_report(ground, report, training_page(ground.claim.job, report))


def training_report(
    job: Job,
    result: Mapping[str, Any],
    points: Sequence[Mapping[str, float]],
    tested: tuple[Rows, Logits] | None,
) -> dict[str, Any]:
    """The job's result, the course of the loss, and of the test split the confusions and the mistakes that
    the model is surest of."""
    report = {**job_and_result(job, result), "points": [dict(point) for point in points]}
    if tested is None:
        return {**report, "confusion": None, "mistakes": []}
    rows, logits = tested
    classes: Sequence[Label] = result["labels"]
    counts = confusion_matrix(rows.labels, logits.argmax(axis=1), len(classes))
    confusions = counts.tolist() if len(classes) <= MOST_DRAWN_LABELS else None
    return {**report, "confusion": confusions, "mistakes": _mistakes(rows, logits, classes)}


def _mistakes(rows: Rows, logits: Logits, classes: Sequence[Label]) -> list[dict[str, Any]]:
    """Those with the highest p of another label than their own, the highest first."""
    p, said = softmax(logits.astype(np.float64), axis=1), logits.argmax(axis=1)
    wrong = np.flatnonzero(said != rows.labels)
    surest = wrong[np.argsort(-p[wrong, said[wrong]], kind="stable")][:SHOWN].tolist()
    return [
        {
            "id": rows.ids[i],
            "text": text_of(rows, i),
            "label": classes[rows.labels[i]],
            "predicted": classes[said[i]],
            "confidence": float(p[i, said[i]]),
            "label_probability": float(p[i, rows.labels[i]]),
        }
        for i in surest
    ]


def training_page(job: Job, report: Mapping[str, Any]) -> str:
    """HTML of a report."""
    result = report["result"]
    facts = {
        "Job": job.id,
        "Model": f"{job.model} (revision {result['model_revision']})",
        "Trained on": f"{result['train_samples']} samples: {result['set']}{_version(result)}, version "
        f"{result['data_version']} of the samples",
        "Steps": f"{result['steps']} in {len(result['epochs'])} epochs, {result['seconds']:,.0f} s",
    }
    return page(f"{job.dataset}: a model of {result['set']}", facts, list(_sections(report)))


def _version(result: Mapping[str, Any]) -> str:
    return "" if result["set_version"] is None else f" of set version {result['set_version']}"


def _sections(report: Mapping[str, Any]) -> Iterator[Section]:
    result, mistakes = report["result"], report["mistakes"]
    yield Section("In short", points=list(_in_short(result)))
    yield Section(
        "Training",
        "Mean loss of the samples trained on since the point before, and of the validation split.",
        plot=loss_by_step(report["points"], result["epochs"]),
        alt="; ".join(f"epoch {one['epoch']}: {one['train_loss']:.3f}" for one in result["epochs"]),
    )
    if result["validation"] is not None or result["test"] is not None:
        yield Section("All figures", tables=[_figures(result)])
    if report["confusion"] is not None:
        yield Section(
            "Confusions",
            "Shares of each label's test samples.",
            plot=confusion(report["confusion"], [str(label) for label in result["labels"]]),
            alt="Confusion matrix",
        )
    if result["test"] is not None:
        yield _section_of(mistakes)


def _in_short(result: Mapping[str, Any]) -> Iterator[str]:
    test, validation = result["test"], result["validation"]
    if test is not None:
        yield f"{_accuracy(test)} of the {test['count']} test samples are given their label."
    if validation is not None:
        source = (
            "sent by the client" if result["validation_source"] == "client" else "cut from the train split"
        )
        yield f"{_accuracy(validation)} of the {validation['count']} validation samples, {source}."
    if test is None and validation is None:
        yield "There was no validation and no test split to evaluate the model on."
    if result["skipped_unlabelled"]:
        yield f"{result['skipped_unlabelled']} train samples have no label and were left out."


def _accuracy(metrics: Mapping[str, float]) -> str:
    return f"{metrics['accuracy']:.1%}"


def _figures(result: Mapping[str, Any]) -> Table:
    splits = [split for split in ("validation", "test") if result[split] is not None]
    names = [name for name in result[splits[0]] if name != "count"]
    rows = [
        [split, result[split]["count"], *(_figure(result[split][name]) for name in names)] for split in splits
    ]
    head = ["split", "samples", *(metric_name(name) for name in names)]
    return Table(head, rows, frozenset(range(1, len(head))))


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _section_of(mistakes: Sequence[Mapping[str, Any]]) -> Section:
    title = "Most confident mistakes"
    if not mistakes:
        return Section(title, "None: every test sample is given its label.")
    rows = [
        [
            one["id"],
            cut(one["text"]),
            one["label"],
            one["predicted"],
            f"{one['confidence']:.1%}",
            f"{one['label_probability']:.1%}",
        ]
        for one in mistakes
    ]
    head = ["id", "text", "label", "said", "p", "p of the label"]
    text = "Test samples whose label may be wrong, or which are hard: the model is sure of another one."
    return Section(title, text, tables=[Table(head, rows, numbers=frozenset({4, 5}), texts=frozenset({1}))])
