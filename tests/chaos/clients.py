"""The clients of the service in a storm: they upload samples and ask for jobs, and repeat what failed."""

from __future__ import annotations

import random
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.chaos.kinds import params_of
from tests.chaos.plan import Plan
from tests.chaos.truth import LABELS

MOVING = "moving"
ENDED = ("succeeded", "failed", "cancelled")
LONGEST_ASK_SECONDS = 120.0
LOOK_SECONDS = 0.1


@dataclass
class Dataset:
    """What the client knows: of each id the text (its place in the pool) and label acknowledged last."""

    name: str
    moving: bool
    contents: dict[str, tuple[int, int]] = field(default_factory=dict)
    jobs: list[str] = field(default_factory=list)


class Client:
    """Asks until it is answered: 503, 409 and broken connections are what a storm brings."""

    def __init__(self, address: str, pool: list[str], plan: Plan) -> None:
        self._http = httpx.Client(base_url=address, timeout=30)
        self._pool = pool
        self._plan = plan

    def ask(self, method: str, path: str, **given: Any) -> Any:
        answer = self._answer(method, path, **given)
        return answer.json() if answer.content else None

    def forget(self, path: str) -> None:
        """Deletes; where that was answered to nobody, there is nothing left to delete."""
        self._answer("DELETE", path, gone_is_done=True)

    def _answer(self, method: str, path: str, *, gone_is_done: bool = False, **given: Any) -> httpx.Response:
        deadline = time.monotonic() + LONGEST_ASK_SECONDS
        while True:
            try:
                answer = self._http.request(method, path, **given)
            except httpx.TransportError as error:
                trouble = repr(error)
            else:
                if answer.is_success or (gone_is_done and answer.status_code == httpx.codes.NOT_FOUND):
                    return answer
                trouble = f"{answer.status_code} {answer.text[:500]}"
                if answer.status_code not in (409, 503):
                    raise AssertionError(f"{method} {path}: {trouble}")
            if time.monotonic() > deadline:
                raise AssertionError(f"{method} {path} stayed unanswered: {trouble}")
            time.sleep(0.1)

    def create(self, dataset: Dataset, contents: dict[str, tuple[int, int]]) -> None:
        body = {"task": "classification", "labels": list(range(LABELS))}
        self.ask("PUT", f"/v1/datasets/{dataset.name}", json=body)
        self.send(dataset, contents)

    def send(self, dataset: Dataset, contents: dict[str, tuple[int, int]]) -> None:
        rows = [
            {"id": sample, "text": self._pool[text], "label": label, "split": split_of(sample)}
            for sample, (text, label) in contents.items()
        ]
        self.ask("POST", f"/v1/datasets/{dataset.name}/samples", json={"samples": rows})
        dataset.contents.update(contents)

    def submit(self, dataset: Dataset, kind: str = "score", *, fresh: bool = False) -> str:
        params = params_of(kind, self._plan, moving=dataset.moving, seed=len(dataset.jobs), fresh=fresh)
        body = {"dataset": dataset.name, "kind": kind, "model": "tiny", "params": params}
        job = self.ask("POST", "/v1/jobs", json=body, headers={"Idempotency-Key": uuid.uuid4().hex})
        dataset.jobs.append(job["id"])
        return str(job["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.ask("GET", f"/v1/jobs/{job_id}"))

    def ended(self, job_id: str, *, within: float) -> dict[str, Any]:
        """The job as it has ended; raises TimeoutError where it does not in so many seconds."""
        deadline = time.monotonic() + within
        while (job := self.job(job_id))["state"] not in ENDED:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{job_id} does not end: {job}")
            time.sleep(LOOK_SECONDS)
        return job

    def scores(self, dataset: str, ids: list[str]) -> list[dict[str, Any] | None]:
        found: list[dict[str, Any] | None] = []
        for start in range(0, len(ids), 10_000):
            body = {"ids": ids[start : start + 10_000]}
            found += self.ask("POST", f"/v1/datasets/{dataset}/scores/lookup", json=body)["scores"]
        return found

    def close(self) -> None:
        self._http.close()


def split_of(sample: str) -> str:
    """The split that an id's first letter stands for."""
    return {"v": "validation", "t": "test"}.get(sample[0], "train")


def some_contents(
    ids: list[str], pool: list[str], random_source: random.Random
) -> dict[str, tuple[int, int]]:
    return {sample: (random_source.randrange(len(pool)), random_source.randrange(LABELS)) for sample in ids}


class Uploader(threading.Thread):
    """Changes some samples every second or two and adds a few, but not to the dataset that is run again."""

    def __init__(self, address: str, pool: list[str], datasets: list[Dataset], plan: Plan) -> None:
        super().__init__(name="uploader", daemon=True)
        self._client = Client(address, pool, plan)
        self._pool = pool
        self._datasets = [dataset for dataset in datasets if not dataset.moving]
        self._random = random.Random(plan.seed + 1)
        self.ending = threading.Event()
        self.failure: BaseException | None = None
        self.requests = 0

    def run(self) -> None:
        try:
            while not self.ending.wait(self._random.uniform(0.5, 2.0)):
                self._change(self._random.choice(self._datasets))
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            self.failure = error
        self._client.close()

    def _change(self, dataset: Dataset) -> None:
        changed = self._random.sample(sorted(dataset.contents), k=10)
        added = [f"n{len(dataset.contents) + i:07}" for i in range(self._random.randint(0, 2))]
        self._client.send(dataset, some_contents(changed + added, self._pool, self._random))
        self.requests += 1
