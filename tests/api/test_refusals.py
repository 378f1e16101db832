"""A Redis that answers but refuses: the client is told to come back, and nothing is half stored."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from redis.exceptions import ResponseError

from app.main import create_app
from app.settings import Settings
from app.store.connections import connect, refusal
from app.store.embedded import EmbeddedRedis


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "redis_out_of_memory"),
        ("MISCONF Errors writing to the AOF file: No space left on device", "redis_disk_error"),
        ("READONLY You can't write against a read only replica.", "redis_read_only"),
        ("OOM command not allowed script: 1f, on @user_script:9.", "redis_out_of_memory"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", None),
    ],
)
def test_which_answers_mean_that_nothing_was_written(message: str, code: str | None) -> None:
    assert refusal(ResponseError(message)) == code


def test_a_full_redis_is_a_503_and_the_rows_can_be_sent_again(tmp_path: Path) -> None:
    rows = {"samples": [{"id": "a", "text": "good"}, {"id": "b", "text": "bad"}]}
    with EmbeddedRedis(tmp_path) as server, connect(server.url) as client:
        settings = Settings(redis_url=server.url, data_url=str(tmp_path))
        with TestClient(create_app(settings), raise_server_exceptions=False) as http:
            assert http.put("/v1/datasets/d", json={"task": "classification"}).status_code == 201
            client.config_set("maxmemory", "1mb")
            refused = http.post("/v1/datasets/d/samples", json=rows)
            assert refused.status_code == 503
            assert refused.json()["code"] == "redis_out_of_memory"
            assert "maxmemory" in refused.json()["remedy"]
            client.config_set("maxmemory", "0")
            assert http.post("/v1/datasets/d/samples", json=rows).json()["created"] == 2
            assert http.get("/v1/datasets/d").json()["samples"] == 2
