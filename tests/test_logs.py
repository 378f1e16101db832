"""Every line looks the same, whoever wrote it, and no key is ever on one."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import structlog

from app.logs import MASK, configure_logging, get_logger, log_context
from app.settings import Settings

pytestmark = pytest.mark.timeout(10)

KEY = 'k"ey-\\with-quotes'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def configured(
    log_format: Literal["auto", "json", "console"] = "json", out: io.StringIO | None = None, **settings: Any
) -> io.StringIO:
    out = io.StringIO() if out is None else out
    configure_logging(Settings(log_format=log_format, api_keys=(KEY,), **settings), part="api", stream=out)
    return out


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_a_constant_message_and_fields() -> None:
    out = configured()
    get_logger("gradsift.jobs").info("job claimed", attempt=2)
    (line,) = lines(out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "job claimed",
        "attempt": 2,
        "level": "info",
        "logger": "gradsift.jobs",
        "part": "api",
    }


def test_what_is_bound_once_is_on_every_line_also_of_libraries() -> None:
    out = configured()
    with log_context(request_id="r1", job_id="j1", dataset="reviews"):
        get_logger("gradsift").info("ours")
        logging.getLogger("uvicorn.error").info("theirs %d", 7, extra={"color_message": "\x1b[1mtheirs"})
        logging.getLogger("celery.task").warning("a task")
    get_logger("gradsift").info("after")
    *inside, after = lines(out)
    assert [line["event"] for line in inside] == ["ours", "theirs 7", "a task"]
    for line in inside:
        assert (line["request_id"], line["job_id"], line["dataset"]) == ("r1", "j1", "reviews")
        assert "color_message" not in line
    assert "request_id" not in after


def test_what_is_bound_further_in_adds_to_it_and_a_line_s_own_field_wins() -> None:
    out = configured()
    with log_context(request_id="r1", dataset="reviews"):
        with log_context(job_id="j1", dataset="queries"):
            get_logger("gradsift").info("inner")
            get_logger("gradsift").info("own", dataset="clicks")
        get_logger("gradsift").info("outer")
    told = [(line["event"], line["request_id"], line.get("job_id"), line["dataset"]) for line in lines(out)]
    assert told == [
        ("inner", "r1", "j1", "queries"),
        ("own", "r1", "j1", "clicks"),
        ("outer", "r1", None, "reviews"),
    ]


def test_a_library_that_brought_its_own_handler_writes_once() -> None:
    own = io.StringIO()
    logging.getLogger("uvicorn.access").addHandler(logging.StreamHandler(own))
    logging.getLogger("uvicorn.access").propagate = False
    out = configured()
    logging.getLogger("uvicorn.access").info("GET /")
    assert [line["event"] for line in lines(out)] == ["GET /"]
    assert own.getvalue() == ""


def break_with_the_key() -> None:
    raise RuntimeError(KEY)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_key_is_ever_logged(log_format: Literal["json", "console"]) -> None:
    out = configured(log_format)
    log = get_logger("gradsift")
    log.info("in a field", header=f"Bearer {KEY}", other=KEY)
    log.info("by name", api_key="unknown-to-us", Authorization="Basic abcd")
    log.info("by shape", header="Bearer someone-elses", url="redis://user:hunter2@host:6379/0")
    logging.getLogger("uvicorn.error").warning("in a library's message: %s", KEY)
    try:
        break_with_the_key()
    except RuntimeError:
        log.exception("in a traceback")
        logging.getLogger("celery").exception("in a library's traceback")
    text = out.getvalue()
    assert MASK in text
    assert "RuntimeError" in text
    for secret in ("ey-", "with-quotes", "unknown-to-us", "abcd", "someone-elses", "hunter2"):
        assert secret not in text
    if log_format == "json":
        assert len(lines(out)) == 6


def test_auto_is_readable_in_a_terminal_and_json_elsewhere() -> None:
    terminal = Terminal()
    configured("auto", terminal)
    get_logger("gradsift").info("hello", answer=42)
    assert terminal.getvalue().startswith("api    | ")
    assert "hello" in terminal.getvalue()
    assert "\x1b[" in terminal.getvalue()
    elsewhere = configured("auto")
    get_logger("gradsift").info("hello")
    assert lines(elsewhere)[0]["event"] == "hello"


def test_console_without_a_terminal_has_no_colours() -> None:
    out = configured("console")
    get_logger("gradsift").info("hello", answer=42)
    assert "\x1b[" not in out.getvalue()
    assert "answer=42" in out.getvalue()


def test_level_and_talkative_libraries() -> None:
    out = configured(log_level="WARNING")
    get_logger("gradsift").info("hidden")
    get_logger("gradsift").warning("shown")
    configured()
    logging.getLogger("httpx").info("HTTP Request: GET http://huggingface.co")
    assert [line["event"] for line in lines(out)] == ["shown"]


def test_a_warning_becomes_a_line() -> None:
    out = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("careful", UserWarning, stacklevel=1)
    (line,) = lines(out)
    assert line["level"] == "warning"
    assert "careful" in line["event"]


def test_configuring_twice_does_not_write_twice(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("from-a-file\n")
    configured()
    out = configured(api_keys_file=keys)
    get_logger("gradsift").info("once", header="from-a-file")
    (line,) = lines(out)
    assert line["header"] == MASK
