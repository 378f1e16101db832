"""Prometheus metrics of the API process."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUEST_SECONDS = Histogram(
    "gradsift_request_seconds", "Time to answer a request.", ["method", "route", "status"]
)
REQUESTS_REFUSED = Counter(
    "gradsift_requests_refused_total",
    "Requests refused because too many of a kind were at work.",
    ["kind"],
)
ROWS_INGESTED = Counter("gradsift_rows_ingested_total", "Rows of samples received.", ["outcome"])
JOBS_WAITING = Gauge("gradsift_jobs_waiting", "Jobs in the queue.")
WORKERS = Gauge("gradsift_workers", "Workers that are there.")
JOBS_REAPED = Counter("gradsift_jobs_reaped_total", "Jobs taken back from workers that died.")
PREDICTORS = Gauge("gradsift_predictors", "Predictors that are there.")
PREDICTIONS_WAITING = Gauge("gradsift_predictions_waiting", "Requests that wait for a predictor.")
