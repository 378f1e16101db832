"""Keys with scopes and datasets: what each opens, and everything that must not open."""

from __future__ import annotations

import io
import logging
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from app.api.scopes import dataset_of_path, opened_by
from app.contracts import JobKind, now
from app.contracts.access import JobOrigin, KeyScope
from app.logs import MASK, get_logger
from app.main import create_app
from app.services.api_keys import revoke_key
from app.settings import Settings
from tests.api.asking import Api, code
from tests.keys import bearer, make_key
from tests.recovery.keyspace import lose_redis

ALL = list(KeyScope)
OWNER = "key-of-the-settings"
PLACES = {
    "dataset": "theirs",
    "sample_id": "a",
    "set_name": "core",
    "user": "u",
    "name": "model.json",
}


@pytest.fixture(scope="module")
def operations() -> list[tuple[str, str]]:
    document = create_app(Settings(redis_url="redis://127.0.0.1:1/0")).openapi()
    return [
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method in methods
        if path.startswith("/v1")
    ]


@pytest.fixture
def api(serve: Callable[..., Api]) -> Api:
    """A service with the datasets `mine` and `theirs`, each with samples and a job; its client has no key."""
    api = serve(api_keys=(OWNER,))
    for name in ("mine", "theirs"):
        body = {"task": "classification"}
        assert api.http.put(f"/v1/datasets/{name}", json=body, headers=bearer(OWNER)).status_code == 201
        rows = {"samples": [{"id": "a", "text": "x", "label": "l"}, {"id": "b", "text": "y", "label": "m"}]}
        stored = api.http.post(f"/v1/datasets/{name}/samples", json=rows, headers=bearer(OWNER))
        assert stored.status_code == 200
    return api


def path_of(template: str, job_id: str, **places: str) -> str:
    values = PLACES | {"job_id": job_id} | places
    return re.sub(r"{(\w+)}", lambda found: values[found[1]], template)


def job_of(api: Api, dataset: str) -> str:
    body = {"dataset": dataset, "kind": "score"}
    sent = api.http.post("/v1/jobs", json=body, headers=bearer(OWNER))
    assert sent.status_code == 202, sent.text
    return str(sent.json()["id"])


def within_a_second(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 1.0
    while not is_so():
        assert time.monotonic() < deadline, "it took longer than a second"
        time.sleep(0.02)


def never() -> Iterator[bytes]:
    """A body that must not be read to its end."""
    yield b"x" * 10
    raise AssertionError("the body was read")


# -- scopes ------------------------------------------------------------------------------------------------
def test_every_route_has_a_scope_of_its_own(operations: list[tuple[str, str]]) -> None:
    """A route that nobody has thought of would need `admin`; whoever adds one says what it needs."""
    assert len(operations) > 30
    for method, template in operations:
        _, named = opened_by(method, path_of(template, "job_1"))
        assert named, f"{method} {template} is missing in app/api/scopes.py"


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/datasets", KeyScope.READ),
        ("HEAD", "/v1/datasets", KeyScope.READ),
        ("GET", "/v1/access", None),
        ("POST", "/v1/datasets/d/scores/lookup", KeyScope.READ),
        ("POST", "/v1/datasets/d/predict", KeyScope.READ),
        ("PUT", "/v1/datasets/d", KeyScope.WRITE),
        ("POST", "/v1/datasets/d/samples", KeyScope.WRITE),
        ("POST", "/v1/datasets/d/events", KeyScope.WRITE),
        ("POST", "/v1/datasets/d/items", KeyScope.WRITE),
        ("DELETE", "/v1/datasets/d/users/a/b/c/events", KeyScope.WRITE),
        ("DELETE", "/v1/datasets/d/samples/s", KeyScope.WRITE),
        ("POST", "/v1/datasets/d/samples/s/review", KeyScope.WRITE),
        ("DELETE", "/v1/datasets/d/samples/s/review", KeyScope.WRITE),
        ("POST", "/v1/jobs", KeyScope.JOBS),
        ("POST", "/v1/jobs/job_1/cancel", KeyScope.JOBS),
        ("DELETE", "/v1/datasets/d", KeyScope.ADMIN),
        ("DELETE", "/v1/datasets/d\n", KeyScope.ADMIN),
        ("POST", "/v1/datasets/d/scores/lookup\n", KeyScope.ADMIN),
        ("POST", "/v1/datasets/d/scores/lookup/", KeyScope.ADMIN),
        ("POST", "/v1/datasets/d/e/scores/lookup", KeyScope.ADMIN),
        ("PATCH", "/v1/datasets/d", KeyScope.ADMIN),
        ("OPTIONS", "/v1/datasets", KeyScope.ADMIN),
        ("post", "/v1/jobs", KeyScope.ADMIN),
        ("POST", "/v1/whatever/comes", KeyScope.ADMIN),
    ],
)
def test_the_table_of_scopes(method: str, path: str, scope: KeyScope | None) -> None:
    assert opened_by(method, path)[0] == scope


@pytest.mark.parametrize("scope", ALL)
def test_a_key_opens_what_its_scope_opens_and_nothing_else(
    api: Api, operations: list[tuple[str, str]], scope: KeyScope
) -> None:
    job_id = job_of(api, "theirs")
    _, key = make_key(api.state, scopes=[scope])
    for method, template in operations:
        needed, _ = opened_by(method, path_of(template, job_id))
        if needed in (None, scope):
            continue
        answer = api.http.request(
            method,
            path_of(template, job_id),
            headers=bearer(key),
            content=never() if method in ("POST", "PUT") else None,
        )
        assert code(answer, 403) == "scope_missing", template
        assert str(needed) in answer.json()["detail"]
    assert api.state.datasets.find("theirs") is not None
    assert api.state.jobs.get(job_id).state == "queued"


def test_each_scope_is_enough_for_what_it_is_for(api: Api) -> None:
    keys = {scope: make_key(api.state, scopes=[scope])[1] for scope in ALL}

    def ask(scope: KeyScope, method: str, path: str, body: Any = None) -> int:
        return api.http.request(method, path, json=body, headers=bearer(keys[scope])).status_code

    assert ask(KeyScope.READ, "GET", "/v1/datasets/mine") == 200
    assert ask(KeyScope.READ, "POST", "/v1/datasets/mine/scores/lookup", {"ids": ["a"]}) == 200
    assert ask(KeyScope.WRITE, "PUT", "/v1/datasets/new", {"task": "classification"}) == 201
    rows = {"samples": [{"id": "a", "text": "x"}]}
    assert ask(KeyScope.WRITE, "POST", "/v1/datasets/new/samples", rows) == 200
    assert ask(KeyScope.WRITE, "DELETE", "/v1/datasets/mine/samples/b") == 204
    job = {"dataset": "theirs", "kind": "score"}
    assert ask(KeyScope.JOBS, "POST", "/v1/jobs", job) == 202
    assert ask(KeyScope.ADMIN, "DELETE", "/v1/datasets/mine") == 204
    for scope in ALL:
        assert ask(scope, "GET", "/v1/access") == 200


# -- datasets ----------------------------------------------------------------------------------------------
def test_another_dataset_is_closed_on_every_route(api: Api, operations: list[tuple[str, str]]) -> None:
    """And whether there is one of that name is not told."""
    _, key = make_key(api.state, scopes=ALL, datasets=["min?", "mine-*"])
    asked = 0
    for method, template in operations:
        if "{dataset}" not in template:
            continue
        told = []
        for name in ("theirs", "nobodys"):
            path = path_of(template, "job_1", dataset=name)
            content = never() if method in ("POST", "PUT") else None
            answer = api.http.request(method, path, headers=bearer(key), content=content)
            assert code(answer, 403) == "dataset_not_allowed", template
            problem = answer.json() | {"request_id": ""}
            told.append(str(problem).replace(name, "…"))
        assert told[0] == told[1]
        asked += 1
    assert asked > 20
    assert api.state.datasets.get("theirs")
    assert api.http.get("/v1/datasets/mine", headers=bearer(key)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/datasets/theirs/",
        "/v1/datasets/theirs%2Fsamples",
        "/v1/datasets/%74heirs",
        "/v1/datasets/theirs%0A",
        "/v1/datasets/THEIRS",
        "/v1/datasets/Mine",
        "/v1/datasets/mine%00",
        "/v1/datasets/mine%2Ftheirs",
        "/v1/datasets/mine/../theirs",
        "/v1/datasets/mine/%2E%2E/theirs",
        "/v1/datasets/*",
        "/v1/datasets/mi%6Ee%20",
        "/v1/datasets//theirs",
        "/v1//datasets/theirs",
        "/V1/datasets/theirs",
        "/v1/datasets/theirs?dataset=mine",
        "/v1/datasets/theirs/scores/a",
        "/v1/datasets/theirs/sets/core",
        "/v1/datasets/%EF%BD%8Dine",
    ],
)
def test_no_spelling_of_a_path_reaches_another_dataset(api: Api, path: str) -> None:
    _, key = make_key(api.state, scopes=ALL, datasets=["mine"])
    raw = api.http.build_request("GET", "/v1/datasets", headers=bearer(key))
    raw.url = raw.url.copy_with(raw_path=path.encode())
    answer = api.http.send(raw, follow_redirects=True)
    assert answer.status_code in (403, 404), answer.text
    assert '"label_counts"' not in answer.text


@pytest.mark.parametrize(
    ("pattern", "name", "reached"),
    [
        ("*", "anything", True),
        ("reviews*", "reviews", True),
        ("reviews*", "reviews-2026", True),
        ("reviews*", "my-reviews", False),
        ("reviews*", "Reviews", False),
        ("team-[ab]", "team-a", True),
        ("team-[ab]", "team-c", False),
        ("team-[!ab]", "team-c", True),
        ("team-?", "team-10", False),
        ("a.b", "axb", False),
        ("[", "[", True),
    ],
)
def test_patterns(api: Api, pattern: str, name: str, reached: bool) -> None:
    _, key = make_key(api.state, datasets=["of-no-one", pattern])
    answer = api.http.get(f"/v1/datasets/{name}", headers=bearer(key))
    assert code(answer, 404 if reached else 403) == ("unknown_dataset" if reached else "dataset_not_allowed")


def test_lists_show_only_what_the_key_reaches(api: Api) -> None:
    jobs = {name: job_of(api, name) for name in ("mine", "theirs")}
    _, key = make_key(api.state, datasets=["mine"])
    names = [item["name"] for item in api.http.get("/v1/datasets", headers=bearer(key)).json()["items"]]
    assert names == ["mine"]
    for query in ("", "?dataset=mine", "?limit=1", "?state=queued"):
        items = api.http.get(f"/v1/jobs{query}", headers=bearer(key)).json()["items"]
        assert [job["id"] for job in items] == [jobs["mine"]], query
    assert api.http.get("/v1/jobs?dataset=theirs", headers=bearer(key)).json()["items"] == []
    every = api.http.get("/v1/jobs", headers=bearer(OWNER)).json()["items"]
    assert {job["id"] for job in every} == set(jobs.values())


def test_a_job_of_another_dataset_is_no_job_on_any_route(api: Api, operations: list[tuple[str, str]]) -> None:
    theirs = job_of(api, "theirs")
    _, key = make_key(api.state, scopes=ALL, datasets=["mine"])
    asked = 0
    for method, template in operations:
        if "{job_id}" not in template:
            continue
        told = []
        for job_id in (theirs, "job_0000000000000000000000"):
            answer = api.http.request(method, path_of(template, job_id), headers=bearer(key))
            assert code(answer, 404) == "unknown_job", template
            told.append(str(answer.json() | {"request_id": ""}).replace(job_id, "…"))
        assert told[0] == told[1]
        asked += 1
    assert asked >= 7
    assert api.state.jobs.get(theirs).state == "queued", "it was not cancelled"


def test_no_job_on_another_dataset_and_no_prediction_by_its_model(api: Api) -> None:
    theirs = job_of(api, "theirs")
    _, key = make_key(api.state, scopes=ALL, datasets=["mine"])
    for name in ("theirs", "nobodys"):
        answer = api.http.post("/v1/jobs", json={"dataset": name, "kind": "score"}, headers=bearer(key))
        assert code(answer, 403) == "dataset_not_allowed"
    told = []
    for job_id in (theirs, "job_0000000000000000000000"):
        body = {"texts": [{"text": "x"}], "job": job_id}
        answer = api.http.post("/v1/datasets/mine/predict", json=body, headers=bearer(key))
        assert answer.status_code in (404, 422), answer.text
        told.append(str(answer.json() | {"request_id": ""}).replace(job_id, "…"))
    assert told[0] == told[1]
    assert len(api.state.jobs.ids_before(None, 10)) == 1


def test_idempotency_keys_of_different_api_keys_are_apart(api: Api) -> None:
    body = {"dataset": "mine", "kind": "score"}
    made = set()
    for key in (OWNER, make_key(api.state, scopes=ALL)[1], make_key(api.state, scopes=ALL)[1]):
        headers = bearer(key) | {"Idempotency-Key": "the-same"}
        sent = [api.http.post("/v1/jobs", json=body, headers=headers) for _ in range(2)]
        assert {answer.status_code for answer in sent} == {202}
        assert len({answer.json()["id"] for answer in sent}) == 1
        made.add(sent[0].json()["id"])
    assert len(made) == 3
    other = api.http.post("/v1/jobs", json=body | {"kind": "clean"}, headers=headers)
    assert code(other, 409) == "idempotency_key_reused"


def test_a_job_says_which_key_sent_it(api: Api) -> None:
    key_id, key = make_key(api.state, scopes=[KeyScope.JOBS])
    sent = api.http.post("/v1/jobs", json={"dataset": "mine", "kind": "score"}, headers=bearer(key))
    assert api.state.jobs.origin(sent.json()["id"]).key_id == key_id


# -- what is no key ----------------------------------------------------------------------------------------
def test_what_is_no_key(api: Api) -> None:
    key_id, key = make_key(api.state, scopes=ALL)
    _, other = make_key(api.state, scopes=ALL)
    secret, other_secret = key[12:], other[12:]
    assert api.http.get("/v1/datasets", headers=bearer(key)).status_code == 200
    wrong: list[str | bytes] = [
        key[:-1],
        key + "A",
        key.upper(),
        key.swapcase(),
        f"GS_{key_id}_{secret}",
        f"gs_{key_id}_{other_secret}",
        f"gs_{key_id}_{'A' * 43}",
        f"gs_{key_id}_",
        f"gs_{key_id}",
        f"gs_00000000_{secret}",
        f"gs__{secret}",
        secret,
        key_id,
        f"{key},{key}",
        f"{key} {key}",
        f"{key}\x0b",
        key.encode() + b"\xc2\xa0",
        key.encode() + b"\xff",
        key.replace("_", "＿").encode(),
        key.encode("utf-16-le"),
        f'"{key}"',
        "*",
        "settings",
        "",
        "A" * 60_000,
    ]
    held = api.state.api_keys.held()[key_id]
    wrong += [held.hash, f"gs_{key_id}_{held.hash[:43]}", f"gs_{key_id}_{held.salt}", held.model_dump_json()]
    for given in wrong:
        encoded = given if isinstance(given, bytes) else given.encode()
        for headers in ({"Authorization": b"Bearer " + encoded}, {"X-API-Key": encoded}):
            answer = api.http.get("/v1/datasets", headers=headers)
            assert code(answer, 401) == "unauthorized", given
    for sent in (f"?api_key={key}", f"?authorization=Bearer%20{key}"):
        assert code(api.http.get(f"/v1/datasets{sent}"), 401) == "unauthorized"


@pytest.mark.parametrize("name", ["Authorization", "X-API-Key"])
def test_two_keys_are_none(api: Api, name: str) -> None:
    """Whichever of the two a proxy has looked at, we do not choose the other one."""
    _, key = make_key(api.state)
    good = f"Bearer {key}" if name == "Authorization" else key
    for second in (good, "Bearer nobody", ""):
        for headers in ([(name, good), (name, second)], [(name, second), (name.lower(), good)]):
            assert code(api.http.get("/v1/datasets", headers=headers), 401) == "unauthorized"
    assert api.http.get("/v1/datasets", headers=[(name, good)]).status_code == 200


def test_an_expired_key_opens_nothing(api: Api) -> None:
    key_id, key = make_key(api.state, expires_days=1)
    assert api.http.get("/v1/datasets", headers=bearer(key)).status_code == 200
    held = api.state.api_keys.held()[key_id]
    api.state.api_keys.put(held.model_copy(update={"expires_at": now() + timedelta(seconds=0.2)}))
    within_a_second(lambda: api.http.get("/v1/datasets", headers=bearer(key)).status_code == 401)


def test_a_record_that_is_damaged_or_smuggled_in_opens_nothing(api: Api) -> None:
    key_id, key = make_key(api.state)
    _, other = make_key(api.state)
    record = api.state.api_keys.held()[key_id].model_dump_json()
    api.state.client.hset(api.state.keys.api_keys, "zzzzzzzz", record)
    assert code(api.http.get("/v1/access", headers=bearer(f"gs_zzzzzzzz_{key[12:]}")), 401) == "unauthorized"
    api.state.client.hset(api.state.keys.api_keys, key_id, record[:-1])
    within_a_second(lambda: api.http.get("/v1/access", headers=bearer(key)).status_code == 401)
    assert api.http.get("/v1/access", headers=bearer(other)).status_code == 200


# -- when keys are asked for -------------------------------------------------------------------------------
def test_the_first_key_closes_the_service_and_revoking_the_last_does_not_open_it(
    serve: Callable[..., Api],
) -> None:
    api = serve()
    assert api.http.get("/v1/datasets").status_code == 200
    key_id, key = make_key(api.state)
    within_a_second(lambda: api.http.get("/v1/datasets").status_code == 401)
    assert api.http.get("/v1/datasets", headers=bearer(key)).status_code == 200
    revoke_key(api.state, key_id)
    within_a_second(lambda: api.http.get("/v1/datasets", headers=bearer(key)).status_code == 401)
    assert code(api.http.get("/v1/datasets"), 401) == "unauthorized"
    assert code(serve().http.get("/v1/datasets"), 401) == "unauthorized", "a process that begins now"
    for path in ("/healthz", "/openapi.json", "/metrics"):
        assert api.http.get(path).status_code == 200


def test_a_redis_that_was_emptied_opens_nothing(serve: Callable[..., Api]) -> None:
    api = serve()
    _, key = make_key(api.state)
    within_a_second(lambda: api.http.get("/v1/datasets").status_code == 401)
    lose_redis(api.state)
    within_a_second(lambda: api.http.get("/v1/datasets", headers=bearer(key)).status_code == 401)
    assert code(api.http.get("/v1/datasets"), 401) == "unauthorized"
    assert code(serve().http.get("/v1/datasets"), 401) == "unauthorized", "the archive still has the key"


def test_without_redis_nobody_is_let_in_but_keys_of_the_settings(serve: Callable[..., Api]) -> None:
    api = serve(api_keys=(OWNER,), redis_url="redis://127.0.0.1:1/0", housekeeping_seconds=0)
    assert code(api.http.get("/v1/access"), 503) == "service_unavailable"
    assert api.http.get("/v1/access", headers=bearer(OWNER)).json()["id"] == "settings"


# -- what a key may ask of itself --------------------------------------------------------------------------
def test_access_tells_what_the_key_opens(api: Api, serve: Callable[..., Api]) -> None:
    key_id, key = make_key(
        api.state, "team", scopes=["jobs", "read"], datasets=["mine"], rate="9/minute", expires_days=1
    )
    told = api.http.get("/v1/access", headers=bearer(key)).json()
    assert told.pop("expires_at").endswith("Z")
    assert told == {
        "id": key_id,
        "name": "team",
        "scopes": ["read", "jobs"],
        "datasets": ["mine"],
        "limits": {"rate": "9/minute", "concurrent": None, "queued_jobs": None},
    }
    own = api.http.get("/v1/access", headers=bearer(OWNER)).json()
    assert (own["id"], own["datasets"]) == ("settings", ["*"])
    assert own["scopes"] == ["read", "write", "jobs", "admin"]
    assert own["expires_at"] is None


def test_refusals_are_documented(operations: list[tuple[str, str]]) -> None:
    document = create_app(Settings(redis_url="redis://127.0.0.1:1/0")).openapi()
    for method, path in operations:
        assert {"401", "403", "429"} <= document["paths"][path][method.lower()]["responses"].keys(), path


# -- logs --------------------------------------------------------------------------------------------------
def _break_with(what: object) -> None:
    raise RuntimeError(what)


def test_a_stored_key_is_in_no_log(api: Api, log_lines: io.StringIO) -> None:
    _, key = make_key(api.state)
    answers = [
        api.http.get("/v1/datasets", headers=bearer(key)),
        api.http.get(f"/v1/datasets/{key}", headers=bearer(key)),
        api.http.get(f"/v1/{key}?{key}={key}", headers=bearer(key)),
        api.http.get("/v1/datasets", headers={"X-API-Key": key[:-2]}),
        api.http.get(f"/{key}"),
    ]
    try:
        _break_with({"authorization": f"Bearer {key}"})
    except RuntimeError:
        get_logger("gradsift").exception("in a traceback", headers={"Authorization": key}, raw=key.encode())
        logging.getLogger("uvicorn.error").exception("in a library's traceback: %r", [(b"x-api-key", key)])
    log = log_lines.getvalue()
    assert log.count('"event": "request"') == len(answers)
    assert log.count("RuntimeError") >= 2
    assert MASK in log
    assert key[12:30] not in log


def test_dataset_of_path() -> None:
    assert dataset_of_path("/v1/datasets/d/samples") == "d"
    assert dataset_of_path("/v1/datasets/d") == "d"
    for path in ("/v1/datasets", "/v1/datasets/", "/v1/jobs/d", "/v1/datasetsd/e"):
        assert dataset_of_path(path) is None


def test_jobs_of_before_keys_are_counted_as_nobodys(api: Api) -> None:
    dataset = api.state.datasets.get("mine")
    api.state.jobs.create(dataset, JobKind.SCORE, "demo", {}, origin=None)
    api.state.jobs.create(dataset, JobKind.SCORE, "demo", {}, origin=JobOrigin())
    _, key = make_key(api.state, scopes=ALL, queued_jobs=1)
    sent = api.http.post("/v1/jobs", json={"dataset": "mine", "kind": "score"}, headers=bearer(key))
    assert sent.status_code == 202
