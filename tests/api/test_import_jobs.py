"""What an import job may be asked, and where it may read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import Forbidden
from app.ingest.import_places import LocalPlace, RemotePlace, import_place
from app.settings import Settings
from tests.api.asking import Api, code

MakeSettings = Callable[..., Settings]


def ask(api: Api, url: str, **params: Any) -> Any:
    return api.job(kind="import", params={"url": url} | params)


def test_a_job_is_recorded_with_its_params(api: Api) -> None:
    response = ask(api, "new/*.csv.gz", columns={"text": "review"}, delimiter=";")
    assert response.status_code == 202, response.text
    job = response.json()
    assert (job["kind"], job["model"]) == ("import", None)
    assert job["params"] == {
        "max_minutes": None,
        "url": "new/*.csv.gz",
        "format": None,
        "compression": None,
        "columns": {"text": "review"},
        "ids": "column",
        "delimiter": ";",
    }
    assert api.job(kind="import", params=job["params"]).status_code == 202, "what is shown can be sent again"


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"url": ""},
        {"url": "a.csv", "format": "xlsx"},
        {"url": "a.csv", "compression": "zip"},
        {"url": "a.csv", "columns": {"texts": "a"}},
        {"url": "a.csv", "columns": {"text": ""}},
        {"url": "a.csv", "ids": "line"},
        {"url": "a.csv", "delimiter": ";;"},
        {"url": "a.csv", "delimiter": '"'},
        {"url": "a.csv", "num_train_epochs": 1},
    ],
)
def test_params_that_are_refused(api: Api, params: dict[str, Any]) -> None:
    assert code(api.job(kind="import", params=params), 422) == "invalid_request"


def test_a_model_has_no_place_here(api: Api) -> None:
    assert code(api.job(kind="import", model="demo", params={"url": "a.csv"}), 422) == "model_unused"


@pytest.mark.parametrize(
    "url",
    [
        "../datasets",
        "a/../../jobs/x.csv",
        "*/../../x.csv",
        "/etc/passwd",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "FILE:///etc/passwd",
        "file:/etc/passwd",
        "file://elsewhere/etc/passwd",
        "file:///%65tc/passwd",
        "local:///etc/passwd",
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:8000/v1/datasets",
        "s3://bucket/x.csv",
        "simplecache::file:///etc/passwd",
        "zip://x.csv::file:///etc/archive.zip",
        "a\x00.csv",
    ],
)
def test_places_that_nobody_allowed(api: Api, url: str) -> None:
    assert code(ask(api, url), 403) == "import_not_allowed"


ALLOWED = "https://data.example/reviews/, s3://bucket/new, /srv/files, file:///srv/other"


@pytest.mark.parametrize(
    "url",
    [
        "https://data.example/reviews/a.csv",
        "https://data.example/reviews/2026/a.csv?signature=a/../b",
        "s3://bucket/new",
        "s3://bucket/new/*.parquet",
        "/srv/files/a.csv",
        "file:///srv/files/deep/*.csv",
        "/srv/other",
    ],
)
def test_places_below_those_that_are_listed(make_settings: MakeSettings, url: str) -> None:
    place = import_place(url, make_settings(import_urls=ALLOWED))
    assert isinstance(place, RemotePlace if "example" in url or "s3" in url else LocalPlace)


@pytest.mark.parametrize(
    "url",
    [
        "http://data.example/reviews/a.csv",
        "https://data.example/other/a.csv",
        "https://data.example/reviewsmore/a.csv",
        "https://data.example/reviews/../other/a.csv",
        "https://data.example/reviews/%2e%2e/other/a.csv",
        "https://data.example/reviews/%252e%252e/other/a.csv",
        "https://data.example/reviews/..\\other",
        "https://data.example:444/reviews/a.csv",
        "https://data.example@evil.example/reviews/a.csv",
        "https://user@data.example/reviews/a.csv",
        "https://evil.example/https://data.example/reviews/a.csv",
        "https://data.example?/reviews/a.csv",
        "s3://bucket/newer/a.csv",
        "s3://bucket/new/?/../../old/a.csv",
        "s3://bucket2/new/a.csv",
        "filecache::s3://bucket/new/a.csv",
        "/srv/filesystem/a.csv",
        "/srv/files/../secret.csv",
        "/srv",
    ],
)
def test_places_beside_those_that_are_listed(make_settings: MakeSettings, url: str) -> None:
    with pytest.raises(Forbidden, match="may not be imported"):
        import_place(url, make_settings(import_urls=ALLOWED))


def test_links_are_followed_before_a_place_is_judged(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings()
    (tmp_path / "imports").mkdir()
    (tmp_path / "imports" / "out").symlink_to("/etc")
    for url in ("out/passwd", "out", "out/*"):
        with pytest.raises(Forbidden):
            import_place(url, settings)
    (tmp_path / "imports" / "in").symlink_to(tmp_path / "imports")
    assert import_place("in/a.csv", settings) == LocalPlace(tmp_path.resolve() / "imports" / "a.csv", "")


def test_with_the_data_in_an_object_store_only_listed_places_are_read(make_settings: MakeSettings) -> None:
    settings = make_settings(data_url="s3://bucket/data", import_urls="/srv/files")
    with pytest.raises(Forbidden):
        import_place("a.csv", settings)
    assert import_place("/srv/files/a.csv", settings) == LocalPlace(Path("/srv/files/a.csv"), "")
