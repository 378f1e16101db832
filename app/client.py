"""The service as its clients see it: one method a route, problems as errors, jobs followed to their end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import quote

import httpx

from app.client_problems import ServiceProblem, Unreachable, problem_of
from app.errors import GradSiftError

Json = dict[str, Any]

ENDED = frozenset({"succeeded", "failed", "cancelled"})
POLL_SECONDS = 0.5
OUTAGE_SECONDS = 60.0
"""How long `follow` waits for a service that has gone away: `gradsift up` starts its parts again."""
_TRIES = 6
_LONGEST_WAIT = 60.0
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
# GRADSIFT_PREDICT_SECONDS of the service may be up to 600.
_PREDICT_TIMEOUT = httpx.Timeout(630.0, connect=5.0)
# A proxy of the environment is for the world outside, not for a service on this machine.
_NO_PROXY: dict[str, None] = {f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")}


class Client:
    """A synchronous client of one service.

    Every method raises:
        Unreachable: nobody answers.
        ServiceProblem: the service answered with a problem.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=_TIMEOUT, mounts=_NO_PROXY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def put_dataset(self, dataset: str, body: Json) -> Json:
        path = f"/v1/datasets/{_part(dataset)}"
        return _patiently(lambda: self._json("PUT", path, json=body), outages=False)

    def datasets(self) -> list[Json]:
        items: list[Json] = self._json("GET", "/v1/datasets")["items"]
        return items

    def usage(self, dataset: str) -> Json:
        return self._json("GET", f"/v1/datasets/{_part(dataset)}/usage")

    def send_samples(self, dataset: str, rows: Iterable[Json]) -> Json:
        """Sends rows as NDJSON; the counts, also when every row was rejected.

        Sending a row twice changes nothing, so a broken or busy service is simply tried again.
        """
        body = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows).encode()
        return self.send_rows(dataset, "samples", body, "application/x-ndjson")

    def send_rows(
        self, dataset: str, what: str, body: bytes, media_type: str, *, columns: Sequence[str] = ()
    ) -> Json:
        """Sends rows of samples, events or items; the counts, also when every row was rejected.

        columns: `FIELD:COLUMN`, where a column has a name of its own.
        """
        path, asked = f"/v1/datasets/{_part(dataset)}/{what}", {"column": list(columns)}
        headers = {"Content-Type": media_type}

        def send() -> Json:
            try:
                return self._json("POST", path, params=asked, content=body, headers=headers)
            except ServiceProblem as problem:
                if problem.code == "all_rows_rejected":
                    return problem.body
                raise

        return _patiently(send)

    def create_job(self, body: Json) -> Json:
        return self._json("POST", "/v1/jobs", json=body)

    def dry_run(self, body: Json) -> Json:
        """The job as it would be, with its `estimate`; nothing is started."""
        return self._json("POST", "/v1/jobs", params={"dry_run": "true"}, json=body)

    def job(self, job_id: str) -> Json:
        return self._json("GET", f"/v1/jobs/{_part(job_id)}")

    def jobs(self, *, dataset: str | None = None, state: str | None = None, limit: int = 20) -> list[Json]:
        asked = {"dataset": dataset, "state": state, "limit": limit}
        params = {name: value for name, value in asked.items() if value is not None}
        items: list[Json] = self._json("GET", "/v1/jobs", params=params)["items"]
        return items

    def job_files(self, job_id: str) -> list[Json]:
        items: list[Json] = self._json("GET", f"/v1/jobs/{_part(job_id)}/files")["items"]
        return items

    @contextmanager
    def job_file(self, job_id: str, name: str) -> Iterator[Iterator[bytes]]:
        """The bytes of one file; a stream that breaks off raises."""
        with self._stream(f"/v1/jobs/{_part(job_id)}/files/{quote(name)}", {}) as response:
            yield response.iter_bytes()

    def cancel(self, job_id: str) -> Json:
        return self._json("POST", f"/v1/jobs/{_part(job_id)}/cancel")

    def set_versions(self, dataset: str) -> list[Json]:
        items: list[Json] = self._json("GET", f"/v1/datasets/{_part(dataset)}/sets")["items"]
        return items

    def members(self, dataset: str, name: str, *, limit: int, version: int | None = None) -> Json:
        params = {"limit": limit} if version is None else {"limit": limit, "version": version}
        return self._json("GET", f"/v1/datasets/{_part(dataset)}/sets/{_part(name)}", params=params)

    def explanation(self, dataset: str, sample_id: str, *, attributions: bool = False) -> Json:
        path = f"/v1/datasets/{_part(dataset)}/samples/{_part(sample_id)}/explanation"
        return self._json("GET", path, params={"attributions": attributions})

    def cleaning(self, dataset: str) -> Json:
        """What the last clean job found."""
        return self._json("GET", f"/v1/datasets/{_part(dataset)}/cleaning")

    def review(self, dataset: str, sample_id: str, verdict: str, label: str | None = None) -> Json:
        path = f"/v1/datasets/{_part(dataset)}/samples/{_part(sample_id)}/review"
        return self._json("POST", path, json={"verdict": verdict, "label": label})

    def review_queue(self, dataset: str, *, limit: int) -> Json:
        return self._json("GET", f"/v1/datasets/{_part(dataset)}/review-queue", params={"limit": limit})

    def predict(self, dataset: str, texts: Sequence[Json], *, job: str | None = None) -> Json:
        """What the model of a train job, or of the newest one, says of up to 256 texts."""
        body = json.dumps({"texts": list(texts), "job": job}, separators=(",", ":")).encode()
        path, headers = f"/v1/datasets/{_part(dataset)}/predict", {"Content-Type": "application/json"}
        return self._json("POST", path, content=body, headers=headers, timeout=_PREDICT_TIMEOUT)

    @contextmanager
    def export(self, dataset: str, name: str, params: Mapping[str, str]) -> Iterator[Iterator[bytes]]:
        """The bytes of a whole set; a stream that breaks off raises, so that no half of it passes for all."""
        path = f"/v1/datasets/{_part(dataset)}/sets/{_part(name)}/export"
        with self._stream(path, params) as response:
            yield response.iter_bytes()

    @contextmanager
    def audit(self, params: Mapping[str, str]) -> Iterator[Iterator[bytes]]:
        """The entries of the audit log that pass, as NDJSON."""
        with self._stream("/v1/audit", params) as response:
            yield response.iter_bytes()

    def follow(self, job_id: str) -> Iterator[Json]:
        """The job as it changes, until it has ended: by server-sent events, by polling where they break."""
        job = self.job(job_id)
        yield job
        answered = time.monotonic()
        while job["state"] not in ENDED:
            try:
                for job in self._events(job_id):
                    yield job
                    answered = time.monotonic()
                if job["state"] in ENDED:
                    return
                time.sleep(POLL_SECONDS)
                job = self.job(job_id)
                answered = time.monotonic()
                yield job
            except (Unreachable, ServiceProblem) as error:
                passing = isinstance(error, Unreachable) or error.status >= 500
                if not passing or time.monotonic() - answered > OUTAGE_SECONDS:
                    raise
                time.sleep(POLL_SECONDS)

    def _events(self, job_id: str) -> Iterator[Json]:
        """What each server-sent event carries: the whole job."""
        data: list[str] = []
        try:
            with self._stream(f"/v1/jobs/{_part(job_id)}/events", {}) as response:
                for line in response.iter_lines():
                    if line.startswith("data:"):
                        data.append(line.removeprefix("data:").removeprefix(" "))
                    elif not line and data:
                        yield json.loads("\n".join(data))
                        data = []
        except (Unreachable, ServiceProblem):
            return  # `follow` asks by polling, and meets the same trouble there if it is a lasting one

    @contextmanager
    def _stream(self, path: str, params: Mapping[str, str]) -> Iterator[httpx.Response]:
        with self._reachable(), self._http.stream("GET", path, params=params) as response:
            if response.is_error:
                response.read()
                raise problem_of(response)
            yield response

    def _json(self, method: str, path: str, **options: Any) -> Json:
        with self._reachable():
            response = self._http.request(method, path, **options)
        if response.is_error:
            raise problem_of(response)
        try:
            body: Json = response.json()
        except ValueError as error:
            raise self._not_gradsift(f"its answer to {path} is not JSON") from error
        return body

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except httpx.InvalidURL as error:
            raise self._not_gradsift(str(error)) from error
        except httpx.UnsupportedProtocol as error:
            raise self._not_gradsift("it is no http:// or https:// address") from error
        except httpx.ConnectError as error:
            raise Unreachable(
                "unreachable",
                f"nobody answers at {self.url} ({error})",
                remedy="Start the service with `gradsift up`, or name its address with --url.",
            ) from error
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(
                "unreachable",
                f"the connection to {self.url} broke: {reason}",
                remedy="Try again; the service's log says whether it was started again.",
            ) from error

    def _not_gradsift(self, why: str) -> GradSiftError:
        remedy = "Name the address of a GradSift service with --url or GRADSIFT_URL."
        return GradSiftError("wrong_address", f"{self.url} is not a GradSift service: {why}", remedy=remedy)


def _patiently(ask: Callable[[], Json], *, outages: bool = True) -> Json:
    """Asks what bears repetition, again where the service says that it is busy, after as long as it says, or
    (`outages`) is away."""
    for attempt in range(_TRIES):
        wait = 0.25 * 2**attempt
        try:
            return ask()
        except ServiceProblem as problem:
            if not problem.passing:
                raise
            wait = max(wait, min(problem.retry_after or 0.0, _LONGEST_WAIT))
        except Unreachable:
            if not outages:
                raise
        time.sleep(wait)
    return ask()


def _part(name: str) -> str:
    return quote(name, safe="")
