"""The files that a job leaves: listed and fetched once it has succeeded."""

from __future__ import annotations

import pytest

from app.contracts import JobState, Progress
from tests.api.asking import Api, code

CONTENT = bytes(range(256)) * 10_000


@pytest.fixture
def ended(api: Api) -> Api:
    """`d` with a job that left two files."""
    api.post(*({"id": str(i), "text": "t", "label": i % 2} for i in range(4)))
    api.job()
    leave(api, JobState.SUCCEEDED)
    return api


def leave(api: Api, state: JobState) -> str:
    claim = api.player.claim()
    folder = api.state.results.of_job(claim.dataset_uid, claim.job.id)
    folder.write("model/weights.bin", CONTENT)
    folder.write("Bericht ä.html", b"<p>")
    api.state.jobs.end(claim, state, progress=Progress())
    return claim.job.id


def newest(api: Api) -> str:
    return str(api.http.get("/v1/jobs").json()["items"][0]["id"])


def test_files_are_listed_and_fetched_as_they_are(ended: Api) -> None:
    job = newest(ended)
    items = ended.http.get(f"/v1/jobs/{job}/files").json()["items"]
    assert items == [
        {"name": "Bericht ä.html", "bytes": 3},
        {"name": "model/weights.bin", "bytes": len(CONTENT)},
    ]
    fetched = ended.http.get(f"/v1/jobs/{job}/files/model/weights.bin")
    assert fetched.content == CONTENT
    assert fetched.headers["content-length"] == str(len(CONTENT))
    assert fetched.headers["content-type"] == "application/octet-stream"
    named = ended.http.get(f"/v1/jobs/{job}/files/Bericht%20%C3%A4.html")
    assert named.content == b"<p>"
    assert named.headers["content-disposition"] == "attachment; filename*=UTF-8''Bericht%20%C3%A4.html"


@pytest.mark.parametrize(
    "name", ["nothing", "model", "..%2f..%2fx", "model%2f..%2fmodel%2fweights.bin", "%00"]
)
def test_nothing_else_is_reached(ended: Api, name: str) -> None:
    response = ended.http.get(f"/v1/jobs/{newest(ended)}/files/{name}")
    assert code(response, 404) in ("unknown_file", "not_found", "unknown_job")


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_a_job_that_did_not_succeed_has_none(api: Api, state: JobState) -> None:
    api.post(*({"id": str(i), "text": "t", "label": i % 2} for i in range(4)))
    api.job()
    job = leave(api, state)
    assert api.http.get(f"/v1/jobs/{job}/files").json()["items"] == []
    assert code(api.http.get(f"/v1/jobs/{job}/files/model/weights.bin"), 404) == "unknown_file"


def test_a_report_is_told_as_data_and_as_a_page(ended: Api) -> None:
    job = newest(ended)
    for place in ("report", "report.html"):
        assert code(ended.http.get(f"/v1/jobs/{job}/{place}"), 404) == "no_report"
    uid = ended.state.jobs.dataset_uid(job)
    ended.state.results.of_job(uid, job).write("report.json", b'{"job": "x"}')
    ended.state.results.of_job(uid, job).write("report.html", "<p>ä".encode())
    told = ended.http.get(f"/v1/jobs/{job}/report")
    assert (told.json(), told.headers["content-type"]) == ({"job": "x"}, "application/json")
    page = ended.http.get(f"/v1/jobs/{job}/report.html")
    assert (page.text, page.headers["content-type"]) == ("<p>ä", "text/html; charset=utf-8")


def test_an_unknown_job(api: Api) -> None:
    assert code(api.http.get("/v1/jobs/job_x/files"), 404) == "unknown_job"
    assert code(api.http.get("/v1/jobs/job_x/files/a"), 404) == "unknown_job"
    assert code(api.http.get("/v1/jobs/job_x/report.html"), 404) == "unknown_job"
