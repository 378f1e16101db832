"""The audit log over HTTP: every request that changes something is entered, done or refused."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from app.api.audit import ACTIONS, AuditRefusals, deed_of
from app.contracts import now
from app.contracts.access import KeyScope, Principal
from app.contracts.base import rfc3339
from app.services.audit import AuditFilter, audit_deed, export_audit, seal_audit
from app.store import audit as store
from tests.api.asking import Api, code
from tests.processes import wait_until

KEY = "a-key-of-the-settings"
KEYED = {"Authorization": f"Bearer {KEY}"}


def entries(api: Api, **params: Any) -> list[dict[str, Any]]:
    answer = api.http.get("/v1/audit", params=params, headers=KEYED)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def last(api: Api) -> dict[str, Any]:
    return entries(api)[-1]


def test_every_changing_operation_has_an_action(api: Api) -> None:
    document = api.http.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method in methods:
            filled = re.sub(r"{(\w+)}", r"x", path)
            deed = deed_of({"method": method.upper(), "path": filled})
            looks = method == "get" or path.endswith(("/lookup", "/predict", "/map/ids"))
            assert (deed is None) is looks, path
            assert deed is None or deed.action != "unknown", path
    assert len({action for _, _, action in ACTIONS}) == len(ACTIONS) - 2


def test_who_did_what_to_which_dataset(serve: Callable[..., Api]) -> None:
    api = serve(api_keys=(KEY,), headers=KEYED)
    api.put("d")
    answer = api.post({"id": "1", "text": "a"}, {"id": "2", "text": "b"}, {"id": "2", "text": "c"})
    created, sent = entries(api)
    assert (created["action"], created["dataset"], created["status"]) == ("dataset.write", "d", 201)
    assert sent["action"] == "samples.write"
    assert sent["outcome"] == "done"
    assert sent["status"] == 207
    assert sent["request_id"] == answer.headers["X-Request-ID"]
    assert (sent["key_id"], sent["client"]) == ("settings", "testclient")
    assert sent["counts"] == {"received": 3, "created": 2, "updated": 0, "unchanged": 0, "rejected": 1}
    assert sent["ms"] > 0
    assert KEY not in str(entries(api))


@pytest.mark.parametrize(
    ("method", "path", "body", "entered"),
    [
        (
            "DELETE",
            "/v1/datasets/d/samples/1",
            None,
            {"action": "sample.delete", "sample": "1", "status": 204},
        ),
        (
            "POST",
            "/v1/datasets/d/samples/1/review",
            {"verdict": "correct"},
            {"action": "review.write", "sample": "1", "status": 200},
        ),
        (
            "DELETE",
            "/v1/datasets/d/samples/1/review",
            None,
            {"action": "review.withdraw", "code": "no_review"},
        ),
        ("DELETE", "/v1/datasets/d", None, {"action": "dataset.delete", "status": 204, "outcome": "done"}),
        (
            "DELETE",
            "/v1/datasets/nobody",
            None,
            {"dataset": "nobody", "code": "unknown_dataset", "status": 404},
        ),
        ("PUT", "/v1/datasets/d", {"task": "x"}, {"action": "dataset.write", "code": "invalid_request"}),
        ("POST", "/v1/jobs", {"dataset": "d", "kind": "x"}, {"action": "job.create", "code": "unknown_kind"}),
        (
            "POST",
            "/v1/jobs",
            {"dataset": "d", "kind": "label"},
            {
                "action": "job.create",
                "dataset": "d",
                "kind": "label",
                "code": "no_events",
                "outcome": "refused",
            },
        ),
        ("POST", "/v1/jobs/job_x/cancel", None, {"action": "job.cancel", "job": "job_x", "status": 404}),
        ("PATCH", "/v1/datasets/d/x", None, {"action": "unknown", "dataset": "d", "status": 404}),
        ("POST", "/v1/nowhere", None, {"action": "unknown", "status": 404}),
        ("POST", "/v1/datasets/d/samples", {}, {"action": "samples.write", "code": "invalid_request"}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_requests_that_are_entered(
    api: Api, method: str, path: str, body: Any, entered: dict[str, Any]
) -> None:
    api.post({"id": "1", "text": "a", "label": 1})
    before = len(entries(api))
    api.http.request(method, path, json=body)
    assert len(entries(api)) == before + 1
    assert last(api).items() >= entered.items()


def test_what_only_looks_is_not_entered(api: Api) -> None:
    before = len(entries(api))
    for path in ("/v1/datasets", "/v1/jobs", "/healthz", "/v1/nope", "/v1/audit"):
        api.http.get(path)
    api.http.post("/v1/datasets/d/scores/lookup", json={"ids": ["1"]})
    api.http.post("/v1/datasets/d/predict", json={"texts": ["1"]})
    assert len(entries(api)) == before


def test_no_user_of_a_behaviour_log_is_named(api: Api) -> None:
    api.http.delete("/v1/datasets/d/users/anna@example.org/events")
    entered = last(api)
    assert entered["action"] == "user.forget"
    assert entered["counts"] == {"events": 0, "samples": 0}
    assert "anna" not in str(entries(api))


def test_a_job_from_its_request_to_its_end(api: Api) -> None:
    api.post(*({"id": str(i), "text": f"t{i}", "label": i % 2} for i in range(4)))
    sent = api.job()
    job_id = sent.json()["id"]
    assert (
        last(api).items() >= {"action": "job.create", "job": job_id, "dataset": "d", "kind": "score"}.items()
    )
    api.http.post(f"/v1/jobs/{job_id}/cancel")
    ended, cancelled = entries(api)[-2:]
    assert cancelled.items() >= {"action": "job.cancel", "job": job_id, "dataset": "d"}.items()
    assert ended.items() >= {"action": "job.ended", "state": "cancelled", "job": job_id}.items()
    assert ended["request_id"] == sent.headers["X-Request-ID"]


def test_a_job_whose_worker_died_too_often(serve: Callable[..., Api]) -> None:
    api = serve(max_crashes=1, lease_seconds=0.6, heartbeat_seconds=0.1)
    api.put()
    api.post(*({"id": str(i), "text": f"t{i}", "label": i % 2} for i in range(4)))
    job_id = api.job().json()["id"]
    api.player.claim(lease_seconds=0.0)
    wait_until(lambda: entries(api)[-1]["action"] == "job.ended")
    assert entries(api)[-1].items() >= {"job": job_id, "state": "failed", "code": "worker_lost"}.items()


def test_jobs_of_a_deleted_dataset(api: Api) -> None:
    api.post(*({"id": str(i), "text": f"t{i}", "label": i % 2} for i in range(4)))
    job_id = api.job().json()["id"]
    api.http.delete("/v1/datasets/d")
    assert [(one["action"], one.get("job")) for one in entries(api)[-2:]] == [
        ("job.ended", job_id),
        ("dataset.delete", None),
    ]


# -- refused at the door -----------------------------------------------------------------------------------
def test_a_request_without_a_key_is_entered(serve: Callable[..., Api]) -> None:
    api = serve(api_keys=(KEY,))
    for headers in ({}, {"Authorization": "Bearer wrong-secret"}):
        assert code(api.http.delete("/v1/datasets/d", headers=headers), 401) == "unauthorized"
    entered = entries(api)
    assert len(entered) == 2
    for one in entered:
        assert one["code"] == "unauthorized"
        assert one["outcome"] == "refused"
        assert one.get("key_id", "") == ""
        assert one["dataset"] == "d"
    assert "wrong-secret" not in str(entered)


def test_those_who_try_keys_cannot_fill_the_log(
    serve: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AuditRefusals, "FREE", 5.0)
    monkeypatch.setattr(AuditRefusals, "A_SECOND", 0.0)
    api = serve(api_keys=(KEY,))
    for _ in range(20):
        api.http.delete("/v1/datasets/d")
    assert len(entries(api)) == 5
    monkeypatch.setattr(AuditRefusals, "A_SECOND", 1e9)
    api.http.delete("/v1/datasets/d")
    assert last(api)["left_out"] == 15


# -- what cannot be entered --------------------------------------------------------------------------------
def test_what_cannot_be_written_down_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_WAITING", 0)
    assert code(api.post({"id": "1", "text": "a"}), 503) == "audit_unavailable"
    assert code(api.http.delete("/v1/datasets/d"), 503) == "audit_unavailable"
    assert api.read()["samples"] == 0


def test_a_deed_whose_process_dies_is_there(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dies(*_: object) -> None:
        raise RedisConnectionError("gone")

    monkeypatch.setattr(api.http.app.state.service.state.audit.desk, "end", dies)  # type: ignore[attr-defined]
    api.http.delete("/v1/datasets/d")
    assert last(api).items() >= {"action": "dataset.delete", "dataset": "d", "outcome": "open"}.items()


# -- reading it --------------------------------------------------------------------------------------------
def test_filters(api: Api) -> None:
    for name in ("a", "b"):
        api.put(name)
        api.post({"id": "1", "text": "t"}, name=name)
    seal_audit(api.state)
    between = rfc3339(now() + timedelta(milliseconds=1))
    time.sleep(0.01)
    api.put("c")
    assert [one["dataset"] for one in entries(api, dataset="a")] == ["a", "a"]
    assert {one["action"] for one in entries(api, action="samples.*")} == {"samples.write"}
    assert [one["dataset"] for one in entries(api, since=between)] == ["c"]
    assert "c" not in {one["dataset"] for one in entries(api, until=between)}
    assert entries(api, key="nobody") == []
    assert len(entries(api, key="anybody")) == 6
    assert code(api.http.get("/v1/audit", params={"since": "yesterday"}), 422) == "invalid_request"


def test_an_admin_of_some_datasets_sees_theirs(api: Api) -> None:
    api.put("team-a")
    api.put("team-b")
    caller = Principal(key_id="k", name="n", scopes=frozenset(KeyScope), datasets=("team-a*",))
    for seal in (False, True):
        if seal:
            seal_audit(api.state)
        lines = b"".join(export_audit(api.state, AuditFilter(), caller)).splitlines()
        assert [json.loads(line)["dataset"] for line in lines] == ["team-a"]


def test_an_entry_is_told_once_whether_sealed_or_not(api: Api) -> None:
    for number in range(5):
        api.post({"id": str(number), "text": "t"})
        if number % 2:
            seal_audit(api.state)
    found = [one["id"] for one in entries(api)]
    assert len(found) == len(set(found)) == 6
    assert [one["seq"] for one in entries(api) if "seq" in one] == list(range(1, 6))


@pytest.mark.parametrize("odd", ["%0A%7B%22seq%22:1%7D", "%1b[2J", "%E2%80%AE", "%00", "x" * 300])
def test_names_cannot_forge_lines(api: Api, odd: str) -> None:
    before = len(entries(api))
    api.http.delete(f"/v1/datasets/{odd}")
    api.http.delete(f"/v1/datasets/d/samples/{odd}")
    answer = api.http.get("/v1/audit")
    assert len(answer.content.splitlines()) == before + 2
    assert answer.content.isascii()
    assert all(len(value) <= 200 for one in entries(api) for value in one.values() if isinstance(value, str))


def test_deeds_at_the_command_line(api: Api) -> None:
    audit_deed(api.state, "keys.create", subject="4kq0x7ab", keys=1)
    entered = last(api)
    assert entered.items() >= {"action": "keys.create", "key_id": "cli", "counts": {"keys": 1}}.items()
    assert entered["seq"]
