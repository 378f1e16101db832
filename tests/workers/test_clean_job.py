"""The `clean` job: what it flags, and that what it found holds when, and only when, it has succeeded."""

from __future__ import annotations

import json
import time
from typing import Any

import pyarrow.parquet as pq
import pytest

from app.contracts import Dataset, JobKind, JobState, Task
from app.contracts.flags import flags_of
from app.store.flags import FLAGS
from tests.workers.conftest import Bench, Row
from workers.clean.publishing import publish_flags
from workers.ground import Ground
from workers.lease import JobLease
from workers.runner import run_claimed

ROWS: list[Row] = [
    {"id": "a", "text": "Lovely soft dress, fits well", "label": "good"},
    {"id": "a2", "text": "Lovely  soft dress, fits well ", "label": "good"},
    {"id": "a3", "text": "Lovely soft dress, fits well", "label": "bad"},
    {"id": "t", "text": "Lovely soft dress, fits well", "label": "good", "split": "test"},
    {"id": "near", "text": "Lovely soft dress! Fits well.", "label": "good"},
    {"id": "empty", "text": "<br/> \u200b", "label": "bad"},
    {"id": "short", "text": "k", "label": "good"},
    {"id": "bom", "text": "\ufeffthe sleeves are too long for me", "label": "bad"},
    {"id": "html", "text": "came &amp; went, was sent back", "label": "bad"},
    {"id": "g1", "text": "rough wool coat in dark blue", "label": "bad", "group": "q"},
    {
        "id": "g2",
        "text": "thin linen shirt, short sleeves",
        "label": "good",
        "group": "q",
        "split": "validation",
    },
    {"id": "fine", "text": "the zip broke after one day", "label": "bad"},
]


def flags(bench: Bench, dataset: str = "d") -> dict[str, set[str]]:
    """Names of the flags of every flagged sample that was checked as it is now."""
    held = bench.state.datasets.get(dataset)
    found = bench.state.flags.in_force(held)
    assert found is not None
    rows = bench.state.samples.table(held).to_table(columns=["id", "ordinal", "generation"])
    ordinals, generations = rows["ordinal"].to_numpy(), rows["generation"].to_numpy()
    bits, checked = found.of(ordinals, generations)
    named = zip(rows["id"].to_pylist(), bits.tolist(), checked.tolist(), strict=True)
    return {name: {flag.value for flag in flags_of(each)} for name, each, seen in named if seen}


def result_of(bench: Bench, **params: Any) -> dict[str, Any]:
    job = bench.run(kind=JobKind.CLEAN, **params)
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    return job.result


def test_every_flag(bench: Bench) -> None:
    bench.dataset(ROWS)
    result = result_of(bench)
    text = {"conflicting_label", "leak_text"}
    assert flags(bench) == {
        "a": text,
        "a2": text | {"exact_duplicate"},
        "a3": text,
        "t": text,
        "near": {"near_duplicate"},
        "empty": {"empty_text", "not_normalised", "html"},
        "short": {"short_text"},
        "bom": {"not_normalised"},
        "html": {"html"},
        "g1": {"leak_group"},
        "g2": {"leak_group"},
        "fine": set(),
    }
    assert result["samples"] == len(ROWS)
    assert result["flagged"] == 11
    assert result["flags"]["leak_text"] == {"samples": 4, "train": 3, "validation": 0, "test": 1}
    assert result["conflicting_texts"] == 1
    assert result["near_duplicates_with_another_label"] == 0


def test_the_file_says_of_which_sample(bench: Bench) -> None:
    dataset = bench.dataset(ROWS)
    job = bench.run(kind=JobKind.CLEAN)
    folder = bench.state.results.of_job(dataset.uid, job.id)
    with folder.open(FLAGS) as file:
        rows = {row["id"]: row for row in pq.read_table(file).to_pylist()}
    assert rows["a2"]["exact_duplicate_of"] == "a"
    assert rows["a"]["exact_duplicate_of"] is None
    assert (rows["a"]["conflicting_label_of"], rows["a3"]["conflicting_label_of"]) == ("a3", "a")
    assert (rows["a"]["leak_text_of"], rows["t"]["leak_text_of"]) == ("t", "a")
    assert (rows["g1"]["leak_group_of"], rows["g2"]["leak_group_of"]) == ("g2", "g1")
    assert rows["near"]["near_duplicate_of"] == "a"
    assert rows["empty"]["flags"] == ["empty_text", "not_normalised", "html"]


def test_labels_from_before_they_were_fixed(bench: Bench) -> None:
    """Ingest refuses labels that the dataset does not have; rows of a restored table may have any."""
    dataset = bench.dataset(ROWS)
    bench.state.datasets.fix_labels(dataset, ("good", "fine"))
    result_of(bench)
    assert {name for name, found in flags(bench).items() if "unknown_label" in found} == {
        row["id"] for row in ROWS if row["label"] == "bad"
    }


def test_pairs_are_alike_on_both_sides(bench: Bench) -> None:
    same = {"text": "blue shoes", "label": 1, "group": "blue shoes"}
    rows: list[Row] = [
        {**same, "id": "1", "text_pair": "Runner 300, blue, size 42, with laces"},
        {**same, "id": "2", "text_pair": "Runner 300 blue size 42 with laces"},
        {**same, "id": "3", "text_pair": "Walker in brown leather, size 40, water resistant"},
        {**same, "id": "4"},
        {**same, "id": "5", "text_pair": "Runner 300, blue, size 42, with laces", "label": 2},
    ]
    bench.dataset(rows, task=Task.RELEVANCE)
    result_of(bench)
    found = flags(bench)
    assert found["2"] == {"near_duplicate"}
    assert found["1"] == found["5"] == {"conflicting_label"}
    assert found["3"] == found["4"] == set()


def test_an_empty_dataset(bench: Bench) -> None:
    bench.dataset([])
    assert result_of(bench)["flagged"] == 0
    assert flags(bench) == {}


def test_a_changed_sample_is_unchecked(bench: Bench) -> None:
    dataset = bench.dataset(ROWS)
    result_of(bench)
    bench.send(
        dataset, [{**ROWS[0], "text": "another text altogether"}, {"id": "new", "text": "ok", "label": "bad"}]
    )
    assert flags(bench).keys() == {row["id"] for row in ROWS} - {"a"}


def name_flags(bench: Bench, dataset: Dataset) -> None:
    """What the worker of the next job does shortly before its end; then it dies."""
    claim = bench.claim()
    bench.state.samples.pin(dataset, claim.job.id)
    with JobLease(claim, bench.state.jobs, bench.settings) as lease:
        publish_flags(Ground(bench.state, bench.settings, lease), dataset)


@pytest.mark.parametrize("cancelled", [False, True])
def test_flags_hold_once_the_job_has_succeeded(short_lease: Bench, cancelled: bool) -> None:
    """Its worker dies when it has named them; the next one sees the job to its end, or to its cancel."""
    bench = short_lease
    dataset = bench.dataset(ROWS)
    first = bench.run(kind=JobKind.CLEAN)
    job = bench.queue(kind=JobKind.CLEAN)
    name_flags(bench, dataset)
    held = bench.state.datasets.get("d")
    assert held.flags == (job.id, first.id)
    assert bench.state.flags.job_in_force(held) == first.id
    if cancelled:
        bench.state.jobs.cancel(job.id)
    bench.send(dataset, [{"id": "later", "text": "ok", "label": "bad"}])
    wait_for_queue(bench)
    if not cancelled:
        run_claimed(bench.state, bench.settings, bench.claim("other"))
    ended = bench.state.jobs.get(job.id).state
    assert ended is (JobState.CANCELLED if cancelled else JobState.SUCCEEDED)
    assert bench.state.flags.job_in_force(bench.state.datasets.get("d")) == (
        first.id if cancelled else job.id
    )
    assert "later" not in flags(bench)
    last = bench.run(kind=JobKind.CLEAN)
    held = bench.state.datasets.get("d")
    assert held.flags == (last.id, first.id if cancelled else job.id)
    assert bench.state.flags.job_in_force(held) == last.id
    meta = bench.state.archive.of_dataset(dataset).meta()
    assert meta is not None
    assert json.loads(meta["flags"]) == list(held.flags)


def wait_for_queue(bench: Bench) -> None:
    """Until the dead worker's lease has run out."""
    while not bench.state.jobs.reap(bench.settings.max_crashes):
        time.sleep(0.05)


def test_files_that_cannot_hold_any_more_go(bench: Bench) -> None:
    dataset = bench.dataset(ROWS)
    jobs = [bench.run(kind=JobKind.CLEAN).id for _ in range(3)]
    names = bench.state.results.folder(dataset.uid).names()
    assert {name for name in names if name.endswith(FLAGS)} == {f"{job}/{FLAGS}" for job in jobs[1:]}
    assert f"{jobs[0]}/report.json" in names
