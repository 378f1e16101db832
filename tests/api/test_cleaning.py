"""What a clean job found, over HTTP; the job itself runs in this process."""

from __future__ import annotations

import pyarrow as pa
import pytest

from app.contracts import JobState, Progress
from app.contracts.flags import SampleFlag, bits_of
from app.store.flags import FLAGS
from tests.api.asking import Api, code

ROWS = [
    {"id": "a", "text": "one text", "label": "x"},
    {"id": "b", "text": "one text", "label": "x"},
    {"id": "c", "text": "another", "label": "y", "split": "test"},
    {"id": "d", "text": "a third", "label": "y"},
]
FOUND = {
    "a": [SampleFlag.LEAK_TEXT],
    "b": [SampleFlag.EXACT_DUPLICATE, SampleFlag.HTML],
    "c": [SampleFlag.LEAK_TEXT],
}


@pytest.fixture
def cleaned(api: Api) -> Api:
    assert api.post(*ROWS).status_code == 200
    clean(api)
    return api


def clean(api: Api) -> str:
    """Leaves what a clean job that found FOUND would leave; its id."""
    answer = api.job(kind="clean")
    assert answer.status_code == 202, answer.text
    claim = api.state.jobs.claim("w", 60)
    assert claim is not None
    dataset = api.state.datasets.get("d")
    table = api.state.samples.table(dataset).to_table(columns=["ordinal", "generation", "split", "id"])
    bits = [bits_of(FOUND.get(name, [])) for name in table["id"].to_pylist()]
    api.state.flags.write(dataset.uid, claim.job.id, table.append_column("bits", pa.array(bits, pa.uint32())))
    api.state.datasets.save_flags(dataset, [claim.job.id])
    api.state.jobs.end(claim, JobState.SUCCEEDED, progress=Progress(), result={})
    return str(answer.json()["id"])


def exclude(api: Api, *flags: str) -> None:
    assert api.put(settings={"exclude_flags": list(flags)}).status_code == 200


def test_before_any_clean_job(api: Api) -> None:
    api.post(*ROWS)
    assert code(api.get("/cleaning"), 404) == "not_cleaned"
    assert code(api.get("/samples", flag="html"), 404) == "not_cleaned"
    assert code(api.get("/samples", flag="dirty"), 422) == "invalid_request"
    assert api.read("/samples/a")["flags"] is None


def test_a_clean_job_names_no_model(api: Api) -> None:
    assert code(api.job(kind="clean", model="demo"), 422) == "model_unused"
    assert code(api.job(kind="clean", params={"min_chars": -1}), 422) == "invalid_request"
    job = api.job(kind="clean").json()
    assert (job["model"], job["params"]["near_duplicate_threshold"]) == (None, 0.8)


def test_the_flags_of_samples(cleaned: Api) -> None:
    assert cleaned.read("/samples/b")["flags"] == ["exact_duplicate", "html"]
    assert cleaned.read("/samples/d")["flags"] == []
    assert cleaned.walk("/samples", flag="leak_text", limit=1) == ["a", "c"]
    assert cleaned.walk("/samples", flag="leak_text", split="test") == ["c"]
    assert cleaned.walk("/samples", flag="short_text") == []
    cleaned.post({**ROWS[0], "text": "changed"}, {"id": "e", "text": "new", "label": "x"})
    assert [cleaned.read(f"/samples/{name}")["flags"] for name in "ae"] == [None, None]
    assert cleaned.walk("/samples", flag="leak_text") == ["c"]


def test_the_report_is_of_the_samples_as_they_are(cleaned: Api) -> None:
    exclude(cleaned, "leak_text", "html")
    report = cleaned.read("/cleaning")
    assert report["flags"]["leak_text"] == {"samples": 2, "train": 1, "validation": 0, "test": 1}
    assert report["flags"]["near_duplicate"]["samples"] == 0
    counted = {
        name: report[name] for name in ("samples", "unchecked", "flagged", "excluded", "exclude_flags")
    }
    assert counted == {
        "samples": 4,
        "unchecked": 0,
        "flagged": 3,
        "excluded": 2,
        "exclude_flags": ["leak_text", "html"],
    }
    cleaned.post({**ROWS[0], "text": "changed"}, {"id": "e", "text": "new", "label": "x"})
    cleaned.http.delete("/v1/datasets/d/samples/b")
    report = cleaned.read("/cleaning")
    assert [report[name] for name in ("samples", "unchecked", "flagged", "excluded")] == [4, 2, 1, 0]


def test_jobs_that_train_need_flags_to_exclude_by(api: Api) -> None:
    api.post(*ROWS[:2], {**ROWS[3], "label": "y"})
    exclude(api, "html")
    assert code(api.job(kind="score"), 409) == "not_cleaned"
    exclude(api)
    assert api.job(kind="score").status_code == 202


def test_a_clean_job_that_waits_will_do(api: Api) -> None:
    api.post(*ROWS)
    exclude(api, "html")
    api.job(kind="clean")
    assert api.job(kind="score").status_code == 202


def test_settings_are_those_of_the_contract(api: Api) -> None:
    assert code(api.put(settings={"exclude_flags": ["dirty"]}), 422) == "invalid_request"
    exclude(api, "html")
    assert api.put(description="x").json()["settings"]["exclude_flags"] == ["html"]


def test_without_its_file_samples_are_still_read(cleaned: Api) -> None:
    dataset = cleaned.state.datasets.get("d")
    cleaned.state.results.of_job(dataset.uid, dataset.flags[0]).remove(FLAGS)
    assert cleaned.read("/samples/a")["flags"] is None
    assert code(cleaned.get("/cleaning"), 503) == "damaged_file"


def test_a_deleted_dataset_takes_its_flags_along(cleaned: Api) -> None:
    uid = cleaned.state.datasets.get("d").uid
    assert cleaned.http.delete("/v1/datasets/d").status_code == 204
    assert cleaned.state.results.folder(uid).names() == []
