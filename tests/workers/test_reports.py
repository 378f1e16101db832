"""Reports of whole jobs: everything in one page, texts shown as texts, figures those of the result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from app.contracts import Job, JobKind, JobState, Task
from app.errors import NotFound
from app.services.job_files import job_report
from tests.workers.conftest import Bench
from tests.workers.test_compare_job import prepared
from tests.workers.test_robust_sets import reviews_with_slips, wrong_ids
from tests.workers.test_train_job import graded
from workers.report.plots import confusion, data_map, histogram_by_set, learning_curve

pytestmark = pytest.mark.reports
NASTY = "<script>alert(1)</script> $x^2$ & 中文 lovely good"
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Checks that every element is closed, and keeps what stands on the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def report_of(bench: Bench, job: Job) -> tuple[Mapping[str, Any], Page]:
    assert job.state is JobState.SUCCEEDED, job.error
    report = json.loads(job_report(bench.state, job.id, html=False))
    assert report["job"] == job.id
    page = Page(job_report(bench.state, job.id, html=True).decode())
    assert not {"script", "img", "link", "iframe", "image"} & set(page.tags)
    outside = [value for name, value in page.attributes if name in ("src", "href", "xlink:href") and value]
    assert all(value.startswith("#") for value in outside), "nothing is fetched"
    return report, page


def test_a_score_job_shows_its_samples(bench: Bench) -> None:
    rows = reviews_with_slips()
    rows[5] = {**rows[5], "text": NASTY}
    bench.dataset(rows)
    job = bench.run(num_train_epochs=2, seeds=2, learning_rate=1e-3)
    report, page = report_of(bench, job)
    assert report["result"] == job.result
    assert page.tags.count("svg") == 3
    ids = {str(row["id"]) for row in rows}
    for part in ("most_important", "least_important", "suspected_errors"):
        assert {one["id"] for one in report[part]} <= ids
    scores = {score["id"]: score for score in bench.scores(sorted(ids))}
    most = [one["importance"] for one in report["most_important"]]
    assert most == sorted(most, reverse=True)
    assert most[0] == pytest.approx(max(score["importance"] for score in scores.values()))
    assert report["least_important"][0]["importance"] == pytest.approx(
        min(score["importance"] for score in scores.values())
    )
    suspected = report["suspected_errors"]
    assert len({one["id"] for one in suspected} & set(wrong_ids())) >= 10
    assert all(one["suggested_label"] == 1 - one["label"] for one in suspected)
    assert all(one["set"] == scores[one["id"]]["set"] for one in suspected)
    text = "".join(page.text)
    assert all(one["id"] in text for one in suspected)


def test_texts_are_shown_as_texts(bench: Bench) -> None:
    bench.dataset(
        [{"id": f"<b>{i}", "text": f"{NASTY} {i}", "label": "<i>$a$" if i % 2 else "五"} for i in range(12)]
    )
    _, page = report_of(bench, bench.run(num_train_epochs=1, policy="seed", early_stopping_patience=1))
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert f"{NASTY} 3" in "".join(page.text)


def test_a_grow_job_shows_its_rounds(bench: Bench) -> None:
    bench.dataset(reviews_with_slips())
    asked = {"initial_fraction": 0.3, "max_rounds": 2, "validation_fraction": 0.15, "num_train_epochs": 1}
    job = bench.run(kind=JobKind.GROW, **asked)
    report, page = report_of(bench, job)
    assert report["result"]["rounds"] == (job.result or {})["rounds"]
    assert "Rounds" in page.text


def test_a_compare_job_shows_who_does_better(bench: Bench) -> None:
    prepared(bench)
    job = bench.run(kind=JobKind.COMPARE, seeds=2, num_train_epochs=1)
    report, page = report_of(bench, job)
    assert report["result"] == job.result
    text = "".join(page.text)
    assert all(sentence in text for sentence in report["result"]["verdict"])
    assert {"By slice", "label: 0", "label: 1"} <= set(page.text)
    assert page.tags.count("svg") == 2 + 2  # a curve, differences, the confusions of `full` and of the core


def test_a_compare_job_on_relevance(bench: Bench) -> None:
    bench.dataset(graded(), task=Task.RELEVANCE)
    job = bench.run(kind=JobKind.COMPARE, subsets=["full"], seeds=1, num_train_epochs=1)
    _, page = report_of(bench, job)
    assert "NDCG@10" in page.text
    assert "There was nothing to compare." in page.text


def test_a_train_job_shows_its_surest_mistakes(bench: Bench) -> None:
    rows = reviews_with_slips()
    for i in range(8):  # wrong labels in the test split
        rows[i] = {**rows[i], "split": "test", "text": f"{rows[i]['text']} {NASTY if i == 3 else ''}"}
    rows[200:] = [{**row, "split": "test"} for row in rows[200:]]
    bench.dataset(rows)
    job = bench.run(kind=JobKind.TRAIN, set="full", num_train_epochs=3, learning_rate=3e-3)
    report, page = report_of(bench, job)
    result = report["result"]
    assert result == job.result
    assert page.tags.count("svg") == 2
    assert [point["step"] for point in report["points"]] == list(range(1, result["steps"] + 1))
    assert np.sum(report["confusion"]) == 48
    assert np.trace(report["confusion"]) == round(48 * result["test"]["accuracy"])
    found = report["mistakes"]
    assert {one["id"] for one in found} >= set(wrong_ids()[:8])
    assert [one["confidence"] for one in found] == sorted((one["confidence"] for one in found), reverse=True)
    assert all(one["predicted"] != one["label"] and one["confidence"] > 0.5 for one in found)
    assert any(NASTY in text for text in page.text)


def test_a_train_job_without_a_test_split_and_one_that_has_not_ended(bench: Bench) -> None:
    bench.dataset(reviews_with_slips())
    report, page = report_of(bench, bench.run(kind=JobKind.TRAIN, set="full", max_steps=2))
    assert (report["confusion"], report["mistakes"], page.tags.count("svg")) == (None, [], 1)
    with pytest.raises(NotFound) as caught:
        job_report(bench.state, bench.queue().id, html=True)
    assert caught.value.code == "no_report"


def test_the_same_data_gives_the_same_plot() -> None:
    values, sets = np.linspace(0, 1, 50), ["core", "edge"] * 25
    point = {"name": "$core$ 中", "samples": 5, "mean": 0.5, "low": 0.4, "high": 0.6, "random": False}
    for draw in (
        lambda: histogram_by_set(values, sets),
        lambda: data_map(values, values, sets),
        lambda: learning_curve([point, {**point, "random": True, "low": None}], "accuracy", 0.5),
        lambda: confusion([[3, 1], [0, 0]], ["中", "<b>"]),
    ):
        assert draw() == draw()
        Page(draw())
