"""Prometheus metrics that the API process counts itself. What Redis knows: `app.api.survey_metrics`."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

# A second series beside each, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
REQUEST_SECONDS = Histogram(
    "gradsift_request_seconds",
    "Time to answer a request.",
    ["method", "route", "status"],
    buckets=REQUEST_BUCKETS,
)
REQUESTS_UNDER_WAY = Gauge("gradsift_requests_under_way", "Requests that are being answered.")
REQUESTS_REFUSED = Counter(
    "gradsift_requests_refused_total", "Requests answered with a problem document.", ["status", "code"]
)
ROWS_INGESTED = Counter(
    "gradsift_rows_ingested_total",
    "Rows received over HTTP.",
    ["rows", "outcome"],
)
REQUESTS_SHED = Counter(
    "gradsift_requests_shed_total", "Requests refused because too many of a kind were at work.", ["kind"]
)
WEBHOOK_CALLS = Counter("gradsift_webhook_calls_total", "Calls of webhooks.", ["outcome"])
for _outcome in ("delivered", "retried", "failed"):
    WEBHOOK_CALLS.labels(_outcome)  # there from the start, as nought
