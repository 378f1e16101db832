"""What a key may ask for at most: requests in a while, requests at a time, jobs that wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from app.contracts.access import KeyScope
from app.main import create_app
from app.services.rebuild import rebuild
from app.services.verify import verify
from app.settings import Settings
from app.store.connections import TRANSIENT
from app.store.key_rates import KeyRates
from app.store.state import State
from tests.api.asking import Api, code
from tests.api.serving import served
from tests.keys import bearer, make_key
from tests.recovery.keyspace import lose_redis

ALL = list(KeyScope)
OWNER = "key-of-the-settings"


@pytest.fixture
def api(serve: Callable[..., Api]) -> Api:
    """A service with the dataset `d`, which has two samples; its client has no key."""
    api = serve(api_keys=(OWNER,))
    with_data(api.http)
    return api


def with_data(http: Any) -> None:
    http.put("/v1/datasets/d", json={"task": "classification"}, headers=bearer(OWNER))
    rows = [{"id": "a", "text": "x", "label": "l"}, {"id": "b", "text": "y", "label": "m"}]
    http.post("/v1/datasets/d/samples", json={"samples": rows}, headers=bearer(OWNER))


# -- rate --------------------------------------------------------------------------------------------------
def test_a_rate_is_kept_and_the_wait_is_true(api: Api) -> None:
    _, key = make_key(api.state, rate="5/second")
    answers = [api.http.get("/v1/access", headers=bearer(key)) for _ in range(12)]
    assert [answer.status_code for answer in answers[:5]] == [200] * 5
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(refused) >= 5
    for answer in refused:
        assert code(answer, 429) == "rate_limited"
        assert answer.headers["Retry-After"] == "1"
        assert answer.headers["RateLimit-Policy"] == '"key";q=5;w=1'
        assert answer.headers["RateLimit"].startswith('"key";r=0;t=')
    time.sleep(int(refused[-1].headers["Retry-After"]))
    assert api.http.get("/v1/access", headers=bearer(key)).status_code == 200


def test_a_long_window_says_how_long(api: Api) -> None:
    _, key = make_key(api.state, rate="2/minute")
    for _ in range(2):
        assert api.http.get("/v1/access", headers=bearer(key)).status_code == 200
    refused = api.http.get("/v1/access", headers=bearer(key))
    assert code(refused, 429) == "rate_limited"
    assert 50 <= int(refused.headers["Retry-After"]) <= 60


def test_rates_are_of_each_key_and_of_all_processes(api: Api, serve: Callable[..., Api]) -> None:
    _, one = make_key(api.state, rate="4/minute")
    _, other = make_key(api.state, rate="4/minute")
    second = serve(api_keys=(OWNER,))
    statuses = [
        service.http.get("/v1/access", headers=bearer(one)).status_code
        for service in (api, second, api, second, api, second)
    ]
    assert statuses == [200] * 4 + [429] * 2
    assert api.http.get("/v1/access", headers=bearer(other)).status_code == 200
    assert api.http.get("/v1/access", headers=bearer(OWNER)).status_code == 200


def test_a_rate_holds_on_the_hot_routes_and_before_a_body(api: Api) -> None:
    _, key = make_key(api.state, scopes=ALL, rate="1/minute")
    assert api.http.get("/v1/datasets/d/scores/a", headers=bearer(key)).status_code == 200

    def never() -> Iterator[bytes]:
        yield b"{"
        raise AssertionError("the body was read")

    for method, path in (("GET", "/v1/datasets/d/scores/a"), ("POST", "/v1/datasets/d/scores/lookup")):
        content = never() if method == "POST" else None
        answer = api.http.request(method, path, headers=bearer(key), content=content)
        assert code(answer, 429) == "rate_limited"


def test_the_settings_give_limits_to_keys_that_have_none(serve: Callable[..., Api]) -> None:
    api = serve(api_keys=(OWNER,), key_rate="2/minute", key_concurrent=3, key_queued_jobs=4)
    _, plain = make_key(api.state)
    _, own = make_key(api.state, rate="100/minute", queued_jobs=9)
    told = [api.http.get("/v1/access", headers=bearer(key)).json()["limits"] for key in (plain, own, OWNER)]
    assert told[0] == told[2] == {"rate": "2/minute", "concurrent": 3, "queued_jobs": 4}
    assert told[1] == {"rate": "100/minute", "concurrent": 3, "queued_jobs": 9}
    assert api.http.get("/v1/access", headers=bearer(plain)).status_code == 200
    assert code(api.http.get("/v1/access", headers=bearer(plain)), 429) == "rate_limited"


def test_counters_are_under_our_prefix_and_known_to_verify(api: Api) -> None:
    _, key = make_key(api.state, rate="4/minute")
    api.http.get("/v1/access", headers=bearer(key))
    names = [name.decode() for name in api.state.client.scan_iter(match="*LIMITER*")]
    ours = [name for name in names if name.startswith(f"{api.state.keys.rates}:")]
    assert ours
    for name in ours:
        assert 0 < api.state.client.ttl(name) <= 120
    assert list(verify(api.state, [], lambda what: None)) == []


# -- at a time ---------------------------------------------------------------------------------------------
def test_requests_at_a_time(make_settings: Callable[..., Settings], state: State) -> None:
    app = create_app(make_settings(api_keys=(OWNER,)))
    with served(app) as url, httpx.Client(base_url=url, trust_env=False) as http:
        with_data(http)
        _, key = make_key(state, scopes=ALL, concurrent=2)
        _, other = make_key(state, scopes=ALL, concurrent=2)
        body = {"dataset": "d", "kind": "score"}
        job = http.post("/v1/jobs", json=body, headers=bearer(OWNER)).json()["id"]
        with (
            http.stream("GET", f"/v1/jobs/{job}/events", headers=bearer(key)) as one,
            http.stream("GET", f"/v1/jobs/{job}/events", headers=bearer(key)) as two,
        ):
            assert (one.status_code, two.status_code) == (200, 200)
            refused = http.get("/v1/access", headers=bearer(key))
            assert refused.status_code == 429
            assert refused.json()["code"] == "too_many_requests"
            assert int(refused.headers["Retry-After"]) >= 1
            assert http.get("/v1/access", headers=bearer(other)).status_code == 200
        deadline = time.monotonic() + 3
        while http.get("/v1/access", headers=bearer(key)).status_code == 429:
            assert time.monotonic() < deadline, "places of requests that have ended are free again"
            time.sleep(0.05)


# -- jobs that wait ----------------------------------------------------------------------------------------
def send(api: Api, key: str, **headers: str) -> Any:
    return api.http.post("/v1/jobs", json={"dataset": "d", "kind": "score"}, headers=bearer(key) | headers)


def test_jobs_that_wait(api: Api) -> None:
    _, key = make_key(api.state, scopes=ALL, queued_jobs=2)
    _, other = make_key(api.state, scopes=ALL, queued_jobs=2)
    assert send(api, OWNER).status_code == 202
    first = send(api, key, **{"Idempotency-Key": "first"})
    assert first.status_code == 202
    assert send(api, key).status_code == 202
    refused = send(api, key, **{"Idempotency-Key": "third"})
    assert code(refused, 429) == "too_many_queued_jobs"
    assert "Retry-After" in refused.headers
    again = send(api, key, **{"Idempotency-Key": "first"})
    assert again.json()["id"] == first.json()["id"], "what was made before is answered all the same"
    assert send(api, other).status_code == 202
    api.http.post(f"/v1/jobs/{first.json()['id']}/cancel", headers=bearer(key))
    assert send(api, key, **{"Idempotency-Key": "third"}).status_code == 202, "a refusal took no key"
    assert code(send(api, key), 429) == "too_many_queued_jobs"


def test_a_job_that_runs_does_not_wait_and_one_that_is_taken_back_does(api: Api) -> None:
    _, key = make_key(api.state, scopes=ALL, queued_jobs=1)
    assert send(api, key).status_code == 202
    claim = api.state.jobs.claim("tests", lease_seconds=0.05)
    assert claim is not None
    assert send(api, key).status_code == 202
    assert code(send(api, key), 429) == "too_many_queued_jobs"
    second = api.state.jobs.claim("tests", lease_seconds=60)
    assert second is None, "one job of a dataset at a time"
    time.sleep(0.1)
    api.state.jobs.reap(max_crashes=5)
    assert api.state.jobs.waiting() == 2
    assert code(send(api, key), 429) == "too_many_queued_jobs"


def test_jobs_that_wait_are_counted_after_a_rebuild(api: Api) -> None:
    _, key = make_key(api.state, scopes=ALL, queued_jobs=1)
    assert send(api, key).status_code == 202
    lose_redis(api.state)
    rebuild(api.state, [], replace=False, report=lambda what, done, total: None)
    time.sleep(1.0)  # what the API knows of the keys may be a second old
    assert code(send(api, key), 429) == "too_many_queued_jobs"


def test_no_burst_gets_past_the_limit_of_jobs(make_settings: Callable[..., Settings], state: State) -> None:
    app = create_app(make_settings(api_keys=(OWNER,)))
    with served(app) as url, httpx.Client(base_url=url, trust_env=False, timeout=30) as http:
        with_data(http)
        _, key = make_key(state, scopes=ALL, queued_jobs=3)
        body = {"dataset": "d", "kind": "score"}
        with ThreadPoolExecutor(12) as pool:
            answers = list(
                pool.map(lambda _: http.post("/v1/jobs", json=body, headers=bearer(key)), range(12))
            )
    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [429] * 9


def test_a_rate_without_redis_is_a_503(make_settings: Callable[..., Settings], state: State) -> None:
    async def ask() -> None:
        rates = KeyRates("redis://127.0.0.1:1/0", state.keys)
        try:
            with pytest.raises(TRANSIENT):
                await rates.wait_of("k", "1/second")
        finally:
            await rates.close()

    asyncio.run(ask())
