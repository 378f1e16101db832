"""The page of a job that sorts samples: `score` and `grow`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from app.contracts import Dataset, Job
from app.logs import get_logger
from app.store.records import Records
from workers.ground import TrainingGround
from workers.report.keeping import job_and_result, keep_report
from workers.report.page import Section, Table, page
from workers.report.plots import data_map, histogram_by_set, rounds_curve, training_curves
from workers.report.samples import SortedSamples, cut, sorted_samples
from workers.score.data import JobData

SHOWN = 15
log = get_logger(__name__)
BASES = {
    "planted": "planted errors",
    "trusted_validation": "planted errors and the trusted validation split",
    "reviews": "what reviewers found",
}


def report_sorting(
    ground: TrainingGround, dataset: Dataset, data: JobData, records: Records, result: Mapping[str, Any]
) -> None:
    """Leaves the report of a job that has published its sets."""
    samples = sorted_samples(ground.state, dataset, int(result["set_version"]), records, data)
    if samples is None or not len(samples):
        log.warning("no report: the sets are gone already", version=result["set_version"])
        return
    report = sorting_report(ground.claim.job, result, samples)
    keep_report(ground, report, sorting_page(ground.claim.job, report, samples))


def sorting_report(job: Job, result: Mapping[str, Any], samples: SortedSamples) -> dict[str, Any]:
    """The job's result, and the samples that stand out."""
    by_importance = np.argsort(-samples.importance, kind="stable")
    suspected = np.argsort(-np.nan_to_num(samples.noise, nan=-1.0), kind="stable")
    suspected = suspected[samples.suggested[suspected] >= 0]
    return {
        **job_and_result(job, result),
        "most_important": [_sample(samples, i) for i in by_importance[:SHOWN].tolist()],
        "least_important": [_sample(samples, i) for i in by_importance[::-1][:SHOWN].tolist()],
        "suspected_errors": [_sample(samples, i) for i in suspected[:SHOWN].tolist()],
    }


def sorting_page(job: Job, report: Mapping[str, Any], samples: SortedSamples) -> str:
    """HTML of a report and of all samples."""
    result = report["result"]
    facts = {
        "Job": job.id,
        "Model": f"{job.model} (revision {result['model_revision']})",
        "Samples": f"version {result['data_version']}: {result['train_samples']} scored, validation: "
        f"{result['validation_samples']} ({result['validation_source']})",
        "Sets": ", ".join(f"{count} {name}" for name, count in result["sets"].items())
        + f" (version {result['set_version']}, policy {job.params['policy']})",
        "Gradient norms": f"over {result['coverage']['values']:,} trained values",
    }
    return page(f"{job.dataset}: which samples matter?", facts, list(_sections(report, samples)))


def _sections(report: Mapping[str, Any], samples: SortedSamples) -> Iterator[Section]:
    result = report["result"]
    noise = result.get("noise") or {}
    if noise:
        yield Section("In short", points=list(_noise(noise)))
    yield Section(
        "Importance by set",
        "A high importance means hard or mislabelled.",
        plot=histogram_by_set(samples.importance, samples.sets),
        alt="Histogram of the importance, coloured by set",
    )
    yield Section(
        "Data map",
        "Each dot is a sample. Low confidence: the model does not come to the label.",
        plot=data_map(samples.confidence, samples.variability, samples.sets),
        alt="Confidence against variability, coloured by set",
    )
    if "rounds" in result:
        yield Section(
            "Rounds",
            "Accuracy on the validation split of the core and of as many random samples.",
            plot=rounds_curve(result["rounds"]),
            alt="; ".join(
                f"round {one['round']}: {one['validation']['accuracy']:.3f}" for one in result["rounds"]
            ),
        )
    else:
        yield Section(
            "Training",
            plot=training_curves(_by_run(result["epochs"])),
            alt="; ".join(f"epoch {one['epoch']}: {one['train_loss']:.3f}" for one in result["epochs"]),
        )
    yield _samples("Suspected label errors", "The least credible labels first.", report["suspected_errors"])
    yield _samples("Most important", "", report["most_important"])
    yield _samples("Least important", "", report["least_important"])


def _noise(noise: Mapping[str, Any]) -> Iterator[str]:
    if noise["basis"] is None:
        yield "Too few samples to judge labels by."
    else:
        low, high = noise["rate_range"]
        by = BASES[noise["basis"]]
        yield f"About {noise['rate']:.1%} of the labels look wrong ({low:.1%} to {high:.1%}, by {by})."
    precision = noise["expected_precision"]
    expected = "" if precision is None else f", of which {precision:.0%} are expected to be wrong"
    yield f"{noise['called']} labels were called wrong{expected}; {noise['reviews']} reviews were heard."


def _by_run(epochs: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    runs: dict[str, list[dict[str, Any]]] = {}
    for one in epochs:
        runs.setdefault(str(one["run"]), []).append(one)
    return runs


def _sample(samples: SortedSamples, i: int) -> dict[str, Any]:
    suggested, noise = int(samples.suggested[i]), float(samples.noise[i])
    return {
        "id": samples.rows.ids[i],
        "text": samples.text(i),
        "label": samples.classes[int(samples.rows.labels[i])],
        "suggested_label": None if suggested < 0 else samples.classes[suggested],
        "importance": float(samples.importance[i]),
        "noise_probability": None if np.isnan(noise) else noise,
        "set": samples.sets[i],
        "reason": samples.reasons[i],
    }


def _samples(title: str, text: str, shown: list[dict[str, Any]]) -> Section:
    if not shown:
        return Section(title, "None.")
    rows = [
        [
            one["id"],
            cut(one["text"]),
            one["label"],
            "" if one["suggested_label"] is None else one["suggested_label"],
            f"{one['importance']:.3f}",
            "–" if one["noise_probability"] is None else f"{one['noise_probability']:.0%}",
            f"{one['set']} ({one['reason']})",
        ]
        for one in shown
    ]
    head = ["id", "text", "label", "suggested", "importance", "wrong", "set"]
    return Section(title, text, tables=[Table(head, rows, numbers=frozenset({4, 5}), texts=frozenset({1}))])
