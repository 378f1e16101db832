"""Traces over OpenTelemetry where GRADSIFT_OTEL_ENDPOINT is set. Elsewhere a span is nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Literal

from app.errors import GradSiftError
from app.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

FLUSH_MS = 2_000
Kind = Literal["server", "consumer", "internal"]


class _Process:
    """What this process traces with; None: it does not."""

    provider: TracerProvider | None = None
    tracer: Tracer | None = None


def start_tracing(settings: Settings, part: str) -> None:
    """Sends the spans of this process, `part` of the service, to the collector; the last call holds.

    Raises:
        GradSiftError: `otel_not_installed`.
    """
    stop_tracing()
    if settings.otel_endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise GradSiftError(
            "otel_not_installed",
            "GRADSIFT_OTEL_ENDPOINT is set, but the packages that send traces are not installed",
            remedy='pip install "gradsift[otel]", or unset GRADSIFT_OTEL_ENDPOINT.',
        ) from error
    service = {"service.namespace": "gradsift", "service.name": f"gradsift-{part}"}
    provider = TracerProvider(resource=Resource.create(service))
    exporter = OTLPSpanExporter(endpoint=settings.otel_endpoint)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _Process.provider, _Process.tracer = provider, provider.get_tracer("gradsift")


def stop_tracing() -> None:
    """Sends what has not been sent."""
    if _Process.provider is not None:
        _Process.provider.shutdown()
    _Process.provider = _Process.tracer = None


def flush() -> None:
    """What has ended is sent now; a collector that is away is not waited for long."""
    if _Process.provider is not None:
        _Process.provider.force_flush(FLUSH_MS)


def span(
    name: str, *, parent: str | None = None, kind: Kind = "internal", **attributes: str | int
) -> AbstractContextManager[Span | None]:
    """A span around what is done inside.

    Args:
        parent: a `traceparent` that came with a request or a job; empty: none. Left out: what is under way.
        attributes: with `__` for the dots of a name.
    """
    if _Process.tracer is None:
        return nullcontext()
    return _span(_Process.tracer, name, parent, kind, attributes)


@contextmanager
def _span(
    tracer: Tracer, name: str, parent: str | None, kind: Kind, attributes: Mapping[str, str | int]
) -> Iterator[Span]:
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = None if parent is None else TraceContextTextMapPropagator().extract({"traceparent": parent})
    told = {name.replace("__", "."): value for name, value in attributes.items()}
    kinds = {"server": SpanKind.SERVER, "consumer": SpanKind.CONSUMER, "internal": SpanKind.INTERNAL}
    with tracer.start_as_current_span(name, context, kinds[kind], told) as opened:
        yield opened


def traceparent() -> str:
    """Of the span that is under way, for whoever goes on with the work elsewhere; empty without one."""
    if _Process.tracer is None:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")


class PhaseSpans:
    """The phases of a job, one span after the other, within what is under way when the first begins."""

    def __init__(self) -> None:
        self._phase = ""
        self._open: AbstractContextManager[Span | None] | None = None

    def enter(self, phase: str) -> None:
        if phase == self._phase or _Process.tracer is None:
            return
        self.end()
        self._phase = phase
        self._open = span(phase)
        self._open.__enter__()

    def end(self) -> None:
        if self._open is not None:
            self._open.__exit__(None, None, None)
        self._phase, self._open = "", None
