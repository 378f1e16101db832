"""API keys: who may ask, and that a key is never told."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from app.errors import Unsafe
from app.logs import configure_logging
from app.settings import Settings, refuse_open_bind
from tests.api.asking import Api, code

KEYS = ("first-secret-key", "second-sécret-key")


@pytest.fixture
def locked(serve: Callable[..., Api]) -> Api:
    return serve(api_keys=KEYS)


def test_everything_under_v1_needs_a_key(locked: Api) -> None:
    document = locked.http.get("/openapi.json").json()
    asked = 0
    for path, methods in document["paths"].items():
        for method in methods:
            response = locked.http.request(method.upper(), path.replace("{", "").replace("}", ""))
            if path.startswith("/v1"):
                assert code(response, 401) == "unauthorized"
                assert response.headers["WWW-Authenticate"] == "Bearer"
                asked += 1
            else:
                assert response.status_code in (200, 503)
    assert asked > 15
    assert code(locked.http.get("/v1"), 401) == "unauthorized"
    assert code(locked.http.get("/v1/nope"), 401) == "unauthorized"
    assert code(locked.http.get("/%761/datasets"), 401) == "unauthorized"


def test_a_body_is_not_read_without_a_key(locked: Api) -> None:
    def never() -> Iterator[bytes]:
        yield b"x" * 10
        raise AssertionError("the body was read")

    for content in (b"not json", b"x" * 40_000_000):
        assert code(locked.http.post("/v1/jobs", content=content), 401) == "unauthorized"


@pytest.mark.parametrize("key", KEYS)
def test_either_way_of_sending_a_key(locked: Api, key: str) -> None:
    encoded = key.encode()
    for headers in (
        {"Authorization": b"Bearer " + encoded},
        {"Authorization": b"bearer " + encoded},
        {"X-API-Key": encoded},
    ):
        assert locked.http.get("/v1/datasets", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer first-secret"},
        {"Authorization": "Bearer first-secret-key2"},
        {"Authorization": "Basic first-secret-key"},
        {"Authorization": "first-secret-key"},
        {"Authorization": b"Bearer \xff\xfe"},
        {"X-API-Key": "FIRST-SECRET-KEY"},
        {"X-API-Key": "first-secret-key,second"},
        {"Cookie": "key=first-secret-key"},
    ],
    ids=str,
)
def test_what_is_no_key(locked: Api, headers: dict[str, str]) -> None:
    assert code(locked.http.get("/v1/datasets", headers=headers), 401) == "unauthorized"
    assert (
        code(locked.http.get("/v1/datasets?api_key=first-secret-key", headers=headers), 401) == "unauthorized"
    )


def test_without_keys_nothing_is_asked(api: Api) -> None:
    assert api.http.get("/v1/datasets", headers={"Authorization": "Bearer anything"}).status_code == 200


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """What the service logs; logging is as it was afterwards."""
    root = logging.getLogger()
    handlers, level, lines = root.handlers[:], root.level, io.StringIO()
    configure_logging(Settings(api_keys=KEYS, log_level="DEBUG", log_format="json"), stream=lines)
    yield lines
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_a_key_is_in_no_answer_and_no_log(serve: Callable[..., Api], log_lines: io.StringIO) -> None:
    locked = serve(api_keys=KEYS)
    bearer = {"Authorization": f"Bearer {KEYS[0]}"}
    answers = [
        locked.http.get("/v1/datasets", headers=bearer),
        locked.http.get("/v1/datasets/nobody", headers=bearer),
        locked.http.get(f"/healthz?key={KEYS[0]}", headers=bearer),
        locked.http.put("/v1/datasets/x", json={"task": 1}, headers=bearer),
        locked.http.get("/v1/datasets", headers={"X-API-Key": KEYS[0] + "x"}),
        locked.http.get(f"/v1/datasets/{KEYS[0]}"),
    ]
    log = log_lines.getvalue()
    assert log.count('"event": "request"') == len(answers)
    assert KEYS[0] not in log
    for answer in answers:
        assert KEYS[0] not in answer.text + str(answer.headers)


def test_keys_of_a_file(serve: Callable[..., Api], tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\n\n  filed-key  \n  # another remark\n", encoding="utf-8")
    api = serve(api_keys=("named-key",), api_keys_file=file)
    for key, status in (("filed-key", 200), ("named-key", 200), ("# another remark", 401), ("", 401)):
        assert api.http.get("/v1/datasets", headers={"X-API-Key": key}).status_code == status


def test_a_key_file_without_a_key_does_not_open_the_service(tmp_path: Path) -> None:
    """Whoever names a file wants keys; an empty one must not mean that none are asked for."""
    file = tmp_path / "keys"
    file.write_text("# none yet\n", encoding="utf-8")
    with pytest.raises(Unsafe) as refused:
        Settings(api_keys_file=file).keys()
    assert refused.value.code == "invalid_settings"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org", ""])
def test_only_loopback_may_be_bound_without_keys(host: str) -> None:
    with pytest.raises(Unsafe) as refused:
        refuse_open_bind(host, Settings(api_keys=()))
    assert refused.value.code == "unsafe_bind"
    refuse_open_bind(host, Settings(api_keys=KEYS))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_may_be_bound(host: str) -> None:
    refuse_open_bind(host, Settings(api_keys=()))
