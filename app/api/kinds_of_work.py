"""What kind of work a request is, from its method and path alone: each kind has a bound of its own."""

from __future__ import annotations

from enum import Enum

_ROWS = frozenset({"samples", "events", "items"})
_HEALTH = frozenset({"/healthz", "/readyz", "/metrics"})


class Work(Enum):
    LOOKUPS = "lookups"
    """One score or one page, answered on the event loop."""
    BATCHES = "batches"
    """Many scores in one request."""
    ORDINARY = "ordinary"
    """A thread for a moment."""
    ROWS = "rows"
    """Rows that come in: memory, and the dataset's write lock."""
    STREAMS = "streams"
    """Whatever may take as long as its client likes, or waits for others."""


def work_of(method: str, path: str, query: bytes) -> tuple[Work | None, str]:
    """The kind, None for what is never refused; and the dataset that it is for, empty where none is named."""
    parts = path.split("/")
    if len(parts) > 4 and parts[2] == "datasets" and parts[1] == "v1":
        return _of_a_dataset(method, parts, query), parts[3]
    if path == "/v1/audit" or (len(parts) > 4 and parts[2] == "jobs" and parts[4] in ("events", "files")):
        return Work.STREAMS, ""
    return (None if path in _HEALTH else Work.ORDINARY), ""


def _of_a_dataset(method: str, parts: list[str], query: bytes) -> Work:
    what, length = parts[4], len(parts)
    if what == "scores" and length == 6:
        return Work.LOOKUPS if method == "GET" else Work.BATCHES
    if parts[-1] == "export" or (what == "map" and method == "GET"):
        return Work.STREAMS
    if what == "sets":
        return Work.LOOKUPS if length == 6 and parts[5] != "diff" else Work.ORDINARY
    if parts[4:] == ["reviews", "import"]:
        return Work.ROWS
    if method == "POST" and length == 5:
        if what in _ROWS:
            return Work.ROWS
        if what == "predict":
            return Work.STREAMS
    # A predictor is asked, which may take as long as a prediction.
    asks = length == 7 and parts[6] == "explanation" and b"attributions" in query
    return Work.STREAMS if asks else Work.ORDINARY
