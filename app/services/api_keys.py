"""API keys: made, listed, revoked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import ValidationError

from app.contracts import now
from app.contracts.access import KeyLimits, KeyScope
from app.contracts.api_keys import ApiKey, new_key
from app.contracts.base import rfc3339
from app.errors import Invalid, NotFound
from app.store.state import State

_PATTERN = re.compile(r"[A-Za-z0-9._*?!\[\]-]{1,128}")
_LONGEST_NAME = 64


def create_key(
    state: State,
    name: str,
    *,
    scopes: Sequence[str],
    datasets: Sequence[str],
    rate: str | None,
    concurrent: int | None,
    queued_jobs: int | None,
    expires_days: float | None,
) -> tuple[ApiKey, str]:
    """What is stored of a new key, and the key, which nobody can tell again.

    Raises:
        Invalid: `invalid_key`.
    """
    if not name.isprintable() or not 1 <= len(name.strip()) <= _LONGEST_NAME:
        raise Invalid("invalid_key", f"a name has 1 to {_LONGEST_NAME} printable characters")
    if not scopes or not set(scopes) <= set(KeyScope):
        known = ", ".join(KeyScope)
        raise Invalid("invalid_key", f"a key has one or more of the scopes {known}")
    wrong = [pattern for pattern in datasets if not _PATTERN.fullmatch(pattern)]
    if wrong or not datasets:
        raise Invalid("invalid_key", f"no patterns of dataset names: {', '.join(wrong) or 'none given'}")
    try:
        limits = KeyLimits(rate=rate, concurrent=concurrent, queued_jobs=queued_jobs)
    except ValidationError as error:
        wrong = [str(item["loc"][0]) for item in error.errors()]
        detail = f"{' and '.join(wrong)}: a rate is such as 100/second, a number 1 or more"
        raise Invalid("invalid_key", detail) from error
    created = _moment()
    expires = None if expires_days is None else created + timedelta(days=expires_days)
    unique = tuple(scope for scope in KeyScope if scope in scopes)
    stored, key = new_key(name.strip(), unique, tuple(dict.fromkeys(datasets)), limits, created, expires)
    _keep(state, stored)
    return stored, key


def revoke_key(state: State, key_id: str) -> ApiKey:
    """The key as it is from now on: it opens nothing. To revoke it again changes nothing.

    Raises:
        NotFound: `unknown_key`.
    """
    held = state.api_keys.held().get(key_id) or state.key_archive.held().get(key_id)
    if held is None:
        raise NotFound("unknown_key", f"there is no key {key_id!r}")
    revoked = held if held.revoked_at is not None else held.model_copy(update={"revoked_at": _moment()})
    _keep(state, revoked)
    return revoked


def list_keys(state: State) -> list[ApiKey]:
    """The oldest first."""
    return sorted(state.api_keys.held().values(), key=lambda key: key.created_at)


def _moment() -> datetime:
    """Now, as a record keeps it: in milliseconds."""
    return datetime.fromisoformat(rfc3339(now()))


def _keep(state: State, key: ApiKey) -> None:
    """The file comes first: a rebuild must never bring a revoked key back to life."""
    state.key_archive.save(key)
    state.durably(lambda: state.api_keys.put(key))
