"""Which scope a request needs, of which dataset it is: known before anything is read."""

from __future__ import annotations

import re

from app.contracts.access import KeyScope

READ, WRITE, JOBS, ADMIN = KeyScope.READ, KeyScope.WRITE, KeyScope.JOBS, KeyScope.ADMIN
_DATASET = "/v1/datasets/{dataset}"
OPENED_BY: tuple[tuple[str, str, KeyScope | None], ...] = (
    ("GET", "/v1/access", None),  # any key may ask what it opens
    ("GET", "/v1/audit", ADMIN),
    ("POST", f"{_DATASET}/scores/lookup", READ),
    ("POST", f"{_DATASET}/predict", READ),
    ("POST", f"{_DATASET}/map/ids", READ),
    ("PUT", _DATASET, WRITE),
    ("POST", f"{_DATASET}/samples", WRITE),
    ("DELETE", f"{_DATASET}/samples/{{sample_id}}", WRITE),
    ("POST", f"{_DATASET}/samples/{{sample_id}}/review", WRITE),
    ("DELETE", f"{_DATASET}/samples/{{sample_id}}/review", WRITE),
    ("POST", f"{_DATASET}/reviews/import", WRITE),
    ("POST", f"{_DATASET}/events", WRITE),
    ("POST", f"{_DATASET}/items", WRITE),
    ("DELETE", f"{_DATASET}/users/{{user:path}}/events", WRITE),
    ("POST", "/v1/jobs", JOBS),
    ("POST", "/v1/jobs/{job_id}/cancel", JOBS),
    ("DELETE", _DATASET, ADMIN),
)
"""Beside these every GET is opened by `read`. Whatever has no place here needs `admin`."""
_BEFORE_DATASET = "/v1/datasets/"


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+(?::path)?\})", template)
    return re.compile(
        "".join(
            (".*" if part.endswith(":path}") else "[^/]+") if part.startswith("{") else re.escape(part)
            for part in parts
        ),
        re.DOTALL,
    )


_WHOLE = {(method, path): scope for method, path, scope in OPENED_BY if "{" not in path}
_BY_METHOD: dict[str, list[tuple[re.Pattern[str], KeyScope | None]]] = {}
for _method, _template, _scope in OPENED_BY:
    if "{" in _template:
        _BY_METHOD.setdefault(_method, []).append((_pattern(_template), _scope))


def opened_by(method: str, path: str) -> tuple[KeyScope | None, bool]:
    """The scope that a request needs (None: any key will do), and whether the table names it."""
    method = "GET" if method == "HEAD" else method
    if (method, path) in _WHOLE:
        return _WHOLE[method, path], True
    for pattern, scope in _BY_METHOD.get(method, ()):
        if pattern.fullmatch(path):
            return scope, True
    return (READ, True) if method == "GET" else (ADMIN, False)


def dataset_of_path(path: str) -> str | None:
    """The dataset that a path names; None for other paths."""
    if not path.startswith(_BEFORE_DATASET):
        return None
    return path.removeprefix(_BEFORE_DATASET).partition("/")[0] or None
