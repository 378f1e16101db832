"""One look for every log line: ours by structlog, and what uvicorn, Celery and the rest log themselves.

Messages are constant, values are fields: `log.info("job claimed", attempt=2)`. What belongs to a whole
request or job is bound once: `with log_context(request_id=...)` puts it on every line below.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from app.settings import Settings

MASK = "***"
_SHORTEST_SECRET = 4
"""Masking every "a" because someone's key is "a" would destroy the log without keeping a secret."""
_SECRET_FIELDS = frozenset({"api_key", "api_keys", "authorization", "x-api-key", "password", "secret"})
_SECRET_SHAPES = (
    r"gs_[0-9a-z]{8}_[A-Za-z0-9_-]+",
    r"(?<=Bearer )[^\s\"',\\]+",
    r"(?<=://)[^/@\s\"]*:[^/@\s\"]+(?=@)",
)
# Loggers that install handlers of their own, or did before us.
_FOREIGN = (
    *("uvicorn", "uvicorn.error", "uvicorn.access"),
    *("celery", "celery.task", "celery.redirected", "multiprocessing"),
)
# Those whose INFO is a line for every request, file or message: a Celery message is only a hint that a job
# may wait, and the job has lines of its own.
_TALKATIVE = (
    "httpx",
    "httpcore",
    "urllib3",
    "filelock",
    "amqp",
    "celery.worker.strategy",
    "celery.app.trace",
)


def configure_logging(settings: Settings, *, part: str | None = None, stream: TextIO | None = None) -> None:
    """Sets up logging of this process; the last call holds.

    Args:
        part: which part of the service this is (`api`, `worker`, `up`), told on every line.
        stream: where the lines go; standard error when left out.
    """
    out = sys.stderr if stream is None else stream
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not out.isatty())
    shared = _shared_processors(part, as_json=as_json)
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        RedactingFormatter(
            prefix="" if as_json or part is None else f"{part:<6} | ",
            secrets=settings.keys(),
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=_renderers(as_json=as_json, colors=out.isatty()),
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for name in _FOREIGN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    return structlog.stdlib.get_logger(name)


_bound_fields: ContextVar[Mapping[str, object]] = ContextVar("bound_fields", default=MappingProxyType({}))
"""All in one, replaced as a whole: structlog's own, with a variable for each, takes three times as long."""


class log_context:  # noqa: N801  (used like a function: `with log_context(request_id=...)`)
    """Puts `fields` (`request_id`, `job_id`, `dataset`) on every line logged inside, also by libraries."""

    def __init__(self, **fields: object) -> None:
        self._fields = fields

    def __enter__(self) -> None:
        self._before = _bound_fields.set({**_bound_fields.get(), **self._fields})

    def __exit__(self, *_: object) -> None:
        _bound_fields.reset(self._before)


def bound(name: str) -> str:
    """What `log_context` has put on the lines under this name; empty where it has not."""
    return str(_bound_fields.get().get(name, ""))


def _merge_bound(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {**_bound_fields.get(), **event}


class RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Masks keys in the finished line: a traceback or a library's message may carry one as well."""

    def __init__(self, *, prefix: str, secrets: Iterable[str], **options: Any) -> None:
        super().__init__(**options)
        self._prefix = prefix
        self._secret = _secret_pattern(secrets)

    def format(self, record: logging.LogRecord) -> str:
        return self._prefix + self._secret.sub(MASK, super().format(record))


def _secret_pattern(secrets: Iterable[str]) -> re.Pattern[str]:
    spellings: set[str] = set()
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            spellings |= {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    # Longest first, so that a key which begins another one does not leave its rest readable.
    exact = [re.escape(spelling) for spelling in sorted(spellings, key=len, reverse=True)]
    return re.compile("|".join([*exact, *_SECRET_SHAPES]))


def _shared_processors(part: str | None, *, as_json: bool) -> list[Processor]:
    """What happens to our lines and to those of libraries alike."""

    def add_part(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if as_json and part is not None:
            event["part"] = part
        return event

    return [
        _merge_bound,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S", utc=as_json),
        add_part,
    ]


def _renderers(*, as_json: bool, colors: bool) -> list[Processor]:
    first: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _mask_secret_fields]
    if as_json:
        return [
            *first,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ]
    # Plain tracebacks: rich ones print local variables, keys among them.
    plain = structlog.dev.plain_traceback
    return [*first, structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0, exception_formatter=plain)]


def _mask_secret_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event.pop("color_message", None)  # uvicorn's second spelling of its message
    for name in event:
        if name.lower() in _SECRET_FIELDS:
            event[name] = MASK
    return event
