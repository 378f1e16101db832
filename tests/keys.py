"""API keys of tests."""

from __future__ import annotations

from app.contracts.access import KeyScope
from app.services.api_keys import create_key
from app.store.state import State


def make_key(state: State, name: str = "ranking", **given: object) -> tuple[str, str]:
    """Id of a new key, and the key; what is given differs from a key that may read everything."""
    values: dict[str, object] = {
        "scopes": [KeyScope.READ],
        "datasets": ["*"],
        "rate": None,
        "concurrent": None,
        "queued_jobs": None,
        "expires_days": None,
    }
    stored, key = create_key(state, name, **(values | given))  # type: ignore[arg-type]
    return stored.id, key


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
