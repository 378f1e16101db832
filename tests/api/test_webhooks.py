"""Webhooks: who may be called, that the call is signed, made at least once, and goes nowhere else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import ipaddress
import json
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from fastapi.testclient import TestClient
from standardwebhooks.webhooks import Webhook as Verifier

from app.contracts import JobState
from app.main import create_app
from app.services import webhook_calls, webhook_sending
from app.services.rebuild import rebuild
from app.services.verify import verify
from app.services.webhook_calls import WebhookCalls
from app.services.webhook_places import may_be_called
from app.settings import Settings
from app.store.state import State
from tests.api.asking import Api, code
from tests.hooks import Receiver, receiving
from tests.processes import wait_until
from tests.recovery.keyspace import lose_redis

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOCAL: dict[str, Any] = {
    "webhook_hosts": ("127.0.0.1:*", "localhost:*"),
    "webhook_secret": SECRET,
    "webhook_insecure": True,
    "webhook_private": True,
}


def dataset(api: Api) -> Api:
    api.put()
    api.post(*({"id": str(i), "text": f"t{i}", "label": i % 2} for i in range(4)))
    return api


def sent(api: Api, url: str, **body: Any) -> str:
    response = api.job(webhook=url, **body)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def shown(api: Api, job_id: str) -> dict[str, Any]:
    return dict(api.http.get(f"/v1/jobs/{job_id}").json()["webhook"])


def state_of(api: Api, job_id: str) -> str:
    return str(shown(api, job_id)["state"])


# -- who may be called -----------------------------------------------------------------------------------
def test_none_are_called_unless_hosts_and_a_secret_are_set(serve: Callable[..., Api]) -> None:
    for given in ({}, {"webhook_hosts": ("*",)}, {"webhook_secret": SECRET}):
        api = dataset(serve(**given))
        response = api.job(webhook="https://example.org/hook")
        assert code(response, 422) == "webhook_unavailable"
        assert "GRADSIFT_WEBHOOK_HOSTS" in response.json()["remedy"]


@pytest.mark.parametrize(
    ("url", "expected", "status"),
    [
        ("https://evil.example.net/", "webhook_not_allowed", 403),
        ("https://hooks.example.org.evil.net/", "webhook_not_allowed", 403),
        ("https://hooks.example.org@evil.net/", "webhook_not_allowed", 403),
        ("https://evil.net#hooks.example.org", "invalid_webhook", 422),
        ("https://evil.net\\@hooks.example.org/", "invalid_webhook", 422),
        ("https://hooks.example.org:8443/", "webhook_not_allowed", 403),
        ("http://hooks.example.org/", "invalid_webhook", 422),
        ("file:///etc/passwd", "invalid_webhook", 422),
        ("gopher://hooks.example.org/", "invalid_webhook", 422),
        ("hooks.example.org", "invalid_webhook", 422),
        ("https://", "invalid_webhook", 422),
        ("", "invalid_webhook", 422),
        ("https://hooks.example.org/\r\nHost: evil", "invalid_webhook", 422),
        ("https://hooks.example.org/" + "x" * 2100, "invalid_webhook", 422),
        ("https://127.0.0.1/", "webhook_not_allowed", 403),
        ("https://[::1]/", "webhook_not_allowed", 403),
        ("https://[::ffff:169.254.169.254]/", "webhook_not_allowed", 403),
        ("https://169.254.169.254/latest/meta-data", "webhook_not_allowed", 403),
    ],
)
def test_urls_that_are_refused(serve: Callable[..., Api], url: str, expected: str, status: int) -> None:
    hosts = ("hooks.example.org", "*.team.example.org", "127.0.0.1", "[*]", "169.254.*")
    api = dataset(serve(webhook_hosts=hosts, webhook_secret=SECRET))
    response = api.job(webhook=url)
    assert code(response, status) == expected
    assert api.http.get("/v1/jobs").json()["items"] == []


def test_patterns_of_hosts(serve: Callable[..., Api]) -> None:
    api = dataset(serve(webhook_hosts=("*.Team.example.org", "h.org:8443"), webhook_secret=SECRET))
    for url in ("https://a.team.example.org/x?y=z", "https://A.TEAM.example.org", "https://h.org:8443/"):
        assert api.job(webhook=url).status_code == 202, url
    for url in ("https://team.example.org/", "https://h.org/"):
        assert code(api.job(webhook=url), 403) == "webhook_not_allowed"


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        ("93.184.216.34", True, True),
        ("2606:2800:220:1:248:1893:25c8:1946", True, True),
        ("10.0.0.1", False, True),
        ("192.168.1.1", False, True),
        ("172.16.0.1", False, True),
        ("100.64.0.1", False, True),
        ("100.100.100.200", False, True),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("fc00::1", False, True),
        ("::ffff:10.0.0.1", False, True),
        ("64:ff9b::a00:1", False, True),
        ("2002:a00:1::1", False, True),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("fe80::1", False, False),
        ("fd00:ec2::254", False, False),
        ("168.63.129.16", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
    ],
)
def test_addresses_that_may_be_called(address: str, public: bool, private: bool) -> None:
    found = ipaddress.ip_address(address)
    assert (may_be_called(found, private=False), may_be_called(found, private=True)) == (public, private)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_c2hvcnQ=", "plain words", "whsec_!!!"])
def test_a_secret_that_is_none_does_not_start(secret: str) -> None:
    with pytest.raises(ValueError, match="webhook_secret"):
        Settings(webhook_secret=secret)  # type: ignore[arg-type]


# -- the call ----------------------------------------------------------------------------------------------
def test_the_vector_of_the_specification() -> None:
    at = datetime.fromtimestamp(1614265330, UTC)
    sender = webhook_sending.WebhookSender(Settings(webhook_hosts=("*",), webhook_secret=SECRET))  # type: ignore[arg-type]
    headers = sender._signed("msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


def assert_signed(receiver: Receiver, at: int) -> None:
    """By the words of the specification, and by its library."""
    head, body = receiver.headers[at], receiver.bodies[at]
    signed = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert head["webhook-signature"] == f"v1,{mac}"
    assert Verifier(SECRET).verify(body, head) == json.loads(body)


@pytest.mark.parametrize("ended", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
def test_a_job_that_ends_is_told_once_and_signed(serve: Callable[..., Api], ended: JobState) -> None:
    with receiving() as receiver:
        api = dataset(serve(**LOCAL))
        job_id = sent(api, f"http://user:pa55@127.0.0.1:{receiver.port}/hook?token=s3cret")
        assert shown(api, job_id) == {
            "host": "127.0.0.1",
            "state": "waiting",
            "attempts": 0,
            "last_error": None,
            "settled_at": None,
        }
        if ended is JobState.CANCELLED:
            api.http.post(f"/v1/jobs/{job_id}/cancel")
        else:
            api.player.end(api.player.claim(), ended)
        wait_until(lambda: state_of(api, job_id) == "delivered")
        job = api.http.get(f"/v1/jobs/{job_id}").json()
        assert len(receiver.bodies) == 1
        assert_signed(receiver, 0)
        assert json.loads(receiver.bodies[0]) == {name: job[name] for name in job if name != "webhook"}
        assert json.loads(receiver.bodies[0])["state"] == ended.value
        assert receiver.paths == ["/hook?token=s3cret"]
        assert receiver.headers[0]["host"] == f"127.0.0.1:{receiver.port}"
        assert receiver.headers[0]["authorization"] == "Basic " + base64.b64encode(b"user:pa55").decode()
        assert "s3cret" not in str(job)
        assert "pa55" not in str(job)
        assert (job["webhook"]["attempts"], job["webhook"]["last_error"]) == (1, None)
        assert api.state.client.zcard(api.state.keys.jobs.webhooks) == 0


def test_no_secret_of_a_url_is_logged(serve: Callable[..., Api], log_lines: io.StringIO) -> None:
    with receiving(410) as receiver:
        api = dataset(serve(**LOCAL))
        job_id = sent(api, f"http://u:pa55@127.0.0.1:{receiver.port}/?token=s3cret")
        api.player.end(api.player.claim())
        wait_until(lambda: state_of(api, job_id) == "failed")
        wait_until(lambda: "webhook given up" in log_lines.getvalue())  # told once the state is stored
    log = log_lines.getvalue()
    assert "s3cret" not in log
    assert "pa55" not in log


def test_a_job_that_goes_on_is_not_told_and_one_without_a_webhook_never_is(serve: Callable[..., Api]) -> None:
    with receiving() as receiver:
        api = dataset(serve(**LOCAL))
        plain = api.job().json()
        api.player.end(api.player.claim())
        job_id = sent(api, f"http://localhost:{receiver.port}/")
        api.player.claim()
        assert anyio.run(WebhookCalls(api.state, api.player.settings).round) == []
        assert (state_of(api, job_id), receiver.bodies) == ("waiting", [])
        assert api.http.get(f"/v1/jobs/{plain['id']}").json()["webhook"] is None


def test_a_call_is_made_again_under_the_same_id(
    serve: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_calls, "AGAIN_AFTER", (0.0, 0.0, 0.0))
    with receiving(500, 302, 200, location="http://127.0.0.1:1/") as receiver:
        api = dataset(serve(**LOCAL))
        job_id = sent(api, f"http://127.0.0.1:{receiver.port}/")
        api.player.end(api.player.claim())
        wait_until(lambda: state_of(api, job_id) == "delivered")
        assert len({head["webhook-id"] for head in receiver.headers}) == 1
        assert len(receiver.bodies) == len(set(receiver.paths)) + 2 == 3
        assert len(set(receiver.bodies)) == 1
        for at in range(3):
            assert_signed(receiver, at)


def test_it_is_given_up_after_the_last_pause(
    serve: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_calls, "AGAIN_AFTER", (0.0, 0.0))
    with receiving(503) as receiver:
        api = dataset(serve(**LOCAL))
        job_id = sent(api, f"http://127.0.0.1:{receiver.port}/")
        api.player.end(api.player.claim())
        wait_until(lambda: state_of(api, job_id) == "failed")
        told = shown(api, job_id)
        assert (told["attempts"], told["last_error"]) == (3, "it answered 503")
        assert told["settled_at"]
        assert len(receiver.bodies) == 3
        assert api.state.client.zcard(api.state.keys.jobs.webhooks) == 0


def test_pauses_are_those_of_the_docs(serve: Callable[..., Api]) -> None:
    assert webhook_calls.AGAIN_AFTER == (5, 30, 120, 600, 3600)
    api = dataset(serve(**LOCAL))
    job_id = sent(api, "http://127.0.0.1:9/")  # nobody listens there
    api.player.end(api.player.claim())
    wait_until(lambda: state_of(api, job_id) == "retrying")
    due = api.state.client.zscore(api.state.keys.jobs.webhooks, job_id) / 1000 - api.state.client.time()[0]
    assert 3 < due < 6
    assert shown(api, job_id)["last_error"] == "no connection could be made"


def test_gone_means_gone(serve: Callable[..., Api]) -> None:
    with receiving(410) as receiver:
        api = dataset(serve(**LOCAL))
        job_id = sent(api, f"http://127.0.0.1:{receiver.port}/")
        api.player.end(api.player.claim())
        wait_until(lambda: state_of(api, job_id) == "failed")
        assert len(receiver.bodies) == 1


# -- where it goes -----------------------------------------------------------------------------------------
def test_a_name_that_leads_inside_is_not_called(serve: Callable[..., Api]) -> None:
    with receiving() as receiver:
        api = dataset(serve(**{**LOCAL, "webhook_private": False}))
        job_id = sent(api, f"http://localhost:{receiver.port}/")
        api.player.end(api.player.claim())
        wait_until(lambda: state_of(api, job_id) == "retrying")
        assert shown(api, job_id)["last_error"] == "its name leads to an address that may not be called"
        assert receiver.bodies == []


def lookups(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Answers name look-ups in turn; the names that were asked for."""
    asked: list[str] = []

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(2, 1, 6, "", (address, port)) for address in answers[min(len(asked), len(answers)) - 1]]

    monkeypatch.setattr(webhook_sending.anyio, "getaddrinfo", getaddrinfo)
    return asked


def test_one_bad_address_among_good_ones_is_enough(
    serve: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups(monkeypatch, ["93.184.216.34", "169.254.169.254"])
    api = dataset(serve(**{**LOCAL, "webhook_hosts": ("hooks.example.org",)}))
    job_id = sent(api, "http://hooks.example.org/")
    api.player.end(api.player.claim())
    wait_until(lambda: state_of(api, job_id) == "retrying")
    assert shown(api, job_id)["last_error"] == "its name leads to an address that may not be called"


def test_the_checked_address_is_called_under_the_name(
    serve: Callable[..., Api], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A name whose address changes between check and call cannot lead elsewhere: it is looked up once."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hooks.example.org").configure_cert(tls)
    heard: list[str] = []
    tls.sni_callback = lambda _socket, name, _context: heard.append(name)  # type: ignore[assignment]
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    asked = lookups(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
    with receiving(tls=tls) as receiver:
        given = {**LOCAL, "webhook_hosts": ("hooks.example.org:*",), "webhook_insecure": False}
        api = dataset(serve(**given))
        job_id = sent(api, f"https://hooks.example.org:{receiver.port}/x")
        api.player.end(api.player.claim())
        wait_until(lambda: state_of(api, job_id) == "delivered")
        assert asked == ["hooks.example.org"]
        assert heard == ["hooks.example.org"]
        assert receiver.headers[0]["host"] == f"hooks.example.org:{receiver.port}"


def test_a_certificate_of_another_name_is_refused(
    serve: Callable[..., Api], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example.org").configure_cert(tls)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    lookups(monkeypatch, ["127.0.0.1"])
    with receiving(tls=tls) as receiver:
        given = {**LOCAL, "webhook_hosts": ("hooks.example.org:*",), "webhook_insecure": False}
        api = dataset(serve(**given))
        job_id = sent(api, f"https://hooks.example.org:{receiver.port}/")
        api.player.end(api.player.claim())
        wait_until(lambda: state_of(api, job_id) == "retrying")
        assert shown(api, job_id)["last_error"] == "its certificate is not trusted"
        assert receiver.bodies == []


def test_a_host_that_is_not_allowed_any_more_is_not_called(
    serve: Callable[..., Api], make_settings: Callable[..., Settings]
) -> None:
    with receiving() as receiver:
        api = dataset(serve(**LOCAL))
        job_id = sent(api, f"http://127.0.0.1:{receiver.port}/")
        claim = api.player.claim()
        stricter = make_settings(**{**LOCAL, "webhook_hosts": ("hooks.example.org",)})
        api.state.jobs.webhooks.take(job_id, 60.0)  # the service in this process is kept from it
        api.player.end(claim)
        api.state.client.zadd(api.state.keys.jobs.webhooks, {job_id: 0})
        api.state.jobs.webhooks.take = lambda *_: True  # type: ignore[method-assign]
        assert anyio.run(WebhookCalls(api.state, stricter).round) == ["failed"]
        assert receiver.bodies == []


# -- never lost --------------------------------------------------------------------------------------------
@pytest.fixture
def waiting(
    state: State, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Api]:
    """A service that calls nobody by itself."""

    async def never(_: object) -> None:
        pass

    monkeypatch.setattr("app.main._call_webhooks", never)
    app = create_app(make_settings(**LOCAL))
    with TestClient(app) as http:
        yield dataset(Api(http, app.state.service.state, make_settings(**LOCAL)))


def test_what_a_process_took_and_did_not_finish_is_called_by_another(waiting: Api) -> None:
    with receiving() as receiver:
        job_id = sent(waiting, f"http://127.0.0.1:{receiver.port}/")
        waiting.player.end(waiting.player.claim())
        store = waiting.state.jobs.webhooks
        assert store.due() == [job_id]
        assert store.take(job_id, 0.05)
        assert not store.take(job_id, 0.05), "two processes call at once"
        assert store.due() == []
        calls = WebhookCalls(waiting.state, waiting.player.settings)
        wait_until(lambda: anyio.run(calls.round) == ["delivered"])
        assert len(receiver.bodies) == 1


def test_what_was_not_called_when_redis_was_lost_is_called_after_a_rebuild(waiting: Api) -> None:
    state, settings = waiting.state, waiting.player.settings
    with receiving() as receiver:
        ids = [sent(waiting, f"http://127.0.0.1:{receiver.port}/{name}") for name in "ab"]
        waiting.player.end(waiting.player.claim())
        state.archive.save_job(ids[0])
        assert anyio.run(WebhookCalls(state, settings).round) == ["delivered"]
        waiting.player.end(waiting.player.claim())
        state.archive.save_job(ids[1])
        lose_redis(state)
        rebuild(state, [], replace=False, report=lambda *_: None)
        assert list(verify(state, [], lambda _: None)) == []
        assert anyio.run(WebhookCalls(state, settings).round) == ["delivered"]
        assert receiver.paths == ["/a", "/b"]


def test_an_id_that_never_became_a_job_is_dropped(waiting: Api) -> None:
    store, key = waiting.state.jobs.webhooks, waiting.state.keys.jobs.webhooks
    store.expect("job_never", 0)
    assert store.due() == []
    assert waiting.state.client.zcard(key) == 0


def test_the_same_key_with_another_webhook_is_another_request(waiting: Api) -> None:
    def send(url: str) -> Any:
        body = {"dataset": "d", "kind": "score", "webhook": url}
        return waiting.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"})

    first = send("http://localhost:1/a").json()["id"]
    assert send("http://localhost:1/a").json()["id"] == first
    assert code(send("http://localhost:1/b"), 409) == "idempotency_key_reused"
