"""Traces, as a collector gets them over HTTP."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.errors import GradSiftError
from app.main import create_app
from app.settings import Settings
from app.tracing import flush, span, start_tracing, stop_tracing, traceparent
from tests.workers.conftest import Bench, short_reviews
from workers.runner import run_traced

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


class Collector:
    """A little OTLP receiver."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        received = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                    told = {one.key: one.value.string_value for one in group.resource.attributes}
                    received.services.add(told["service.name"])
                    received.spans += [one for scope in group.scope_spans for one in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def named(self, name: str) -> list[Span]:
        return [one for one in self.spans if one.name == name]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    stop_tracing()
    collector.close()


def attributes(one: Span) -> dict[str, str | int]:
    return {item.key: item.value.string_value or item.value.int_value for item in one.attributes}


def test_a_job_is_in_the_trace_of_the_request_that_sent_it(bench: Bench, collector: Collector) -> None:
    settings = bench.settings.model_copy(update={"otel_endpoint": collector.url})
    bench.dataset(short_reviews(24))
    with TestClient(create_app(settings)) as http:
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "X-Request-ID": "asked-1"}
        body = {"dataset": "d", "kind": "clean"}
        sent = http.post("/v1/jobs", json=body, headers=headers)
        assert sent.status_code == 202
        http.get("/v1/datasets/d")
        rows = {"samples": [{"id": "new", "text": "t"}]}
        assert http.post("/v1/datasets/d/samples", json=rows).status_code == 200
    start_tracing(settings, "worker")  # as the worker's process does
    claim = bench.claim()
    assert claim.origin.traceparent.startswith(f"00-{TRACE}-")
    assert run_traced(bench.state, settings, claim)

    (request,) = collector.named("POST /v1/jobs")
    assert request.trace_id.hex() == TRACE
    assert request.parent_span_id.hex() == CALLER
    assert request.kind == Span.SPAN_KIND_SERVER
    told = attributes(request)
    assert (told["http.response.status_code"], told["gradsift.request_id"]) == (202, "asked-1")
    (job,) = collector.named("job clean")
    assert (job.trace_id, job.parent_span_id) == (request.trace_id, request.span_id)
    assert attributes(job)["gradsift.job_id"] == sent.json()["id"]
    phases = [one for one in collector.spans if one.parent_span_id == job.span_id]
    assert len(phases) > 1
    assert all(job.start_time_unix_nano <= one.start_time_unix_nano for one in phases)
    durable = {one.parent_span_id for one in collector.named("redis durable")}
    assert request.span_id in durable
    (other,) = collector.named("GET /v1/datasets/{dataset}")
    assert other.trace_id != request.trace_id
    assert not other.parent_span_id
    (stored,) = collector.named("store samples")
    assert attributes(stored)["gradsift.rows"] == 1
    (ingest,) = collector.named("POST /v1/datasets/{dataset}/samples")
    assert stored.parent_span_id == ingest.span_id
    assert collector.services == {"gradsift-api", "gradsift-worker"}


def test_without_the_setting_a_span_is_nothing(bench: Bench) -> None:
    start_tracing(bench.settings, "worker")
    with span("anything") as opened:
        assert opened is None
        assert traceparent() == ""
    flush()


def test_without_the_setting_nothing_that_traces_is_imported() -> None:
    """Other parts of OpenTelemetry, where it is installed, redis-py imports by itself."""
    code = "import sys, app.main; app.main.create_app(); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "app.tracing" in loaded
    ours = ("opentelemetry.sdk.trace", "opentelemetry.exporter")
    assert not [name for name in loaded if name.startswith(ours)]


def test_a_collector_that_is_away_costs_no_request(bench: Bench) -> None:
    settings = bench.settings.model_copy(update={"otel_endpoint": "http://127.0.0.1:9/v1/traces"})
    with TestClient(create_app(settings)) as http:
        assert http.get("/healthz").status_code == 200


def test_the_packages_are_asked_for_where_they_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(GradSiftError) as caught:
        start_tracing(Settings(otel_endpoint="http://127.0.0.1:9"), "api")
    assert caught.value.code == "otel_not_installed"
