"""A server that was started anew knows no script: whoever runs one must not notice."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from app.store.scripts import Scripts, script_digest
from app.store.state import State

FENCE = "fence_take"


@pytest.fixture
def key(state: State) -> str:
    meta = state.keys.dataset("u1").meta
    state.client.hset(meta, mapping={"name": "d", "format": "2"})
    return meta


def test_a_script_is_sent_again_when_it_was_forgotten(state: State, key: str) -> None:
    scripts = Scripts(state.client)
    for token in (1, 2):
        state.client.script_flush()
        assert scripts.run(FENCE, [key], [token]) == b"taken"
    assert state.client.script_exists(script_digest(FENCE)) == [True]


def test_a_server_may_forget_between_any_two_calls(
    state: State, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when it is restarted while redis-py prepares a pipeline, or sends it a second time."""
    send = redis.client.Pipeline._execute_pipeline

    def forgotten(self: Any, *given: Any) -> Any:
        state.client.script_flush()
        return send(self, *given)

    monkeypatch.setattr(redis.client.Pipeline, "_execute_pipeline", forgotten)
    replies = Scripts(state.client).run_each(FENCE, [([key], [token]) for token in (1, 3, 2)])
    assert replies == [b"taken", b"taken", b"stale"]
