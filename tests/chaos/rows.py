"""A storm over what writes samples: imports, splits, cleaning, labels made of events, reviews, deletions.

python -m tests.chaos.rows --seconds 300 --seed 1

Several datasets go through the same steps, again and again, while workers and the server are killed; one more
goes through them undisturbed. What each comes to must be the same, and `gradsift verify` must find nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from app.contracts.behaviors import EVENT_SAMPLES
from app.services.flags import flags_of_rows
from app.store.state import State, open_state
from tests.chaos.aof import Cut
from tests.chaos.clients import Client
from tests.chaos.compare import check_state
from tests.chaos.plan import Plan
from tests.chaos.run import raise_failure_of, service_in, storm_directory
from tests.chaos.service import Service
from tests.models.tiny import WORDS

ROWS = 1_200
BATCH_ROWS = 100
USERS, ITEMS, EVENTS_A_USER = 40, 30, 12
FIRST_EVENT = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(workers=3, lease_seconds=3.0)
JOB_SECONDS = 300.0
TICK_SECONDS = 0.05
SHOWN = 20
_OF_THE_JOB = {"data_version", "files", "seconds"}
_FIELDS = ["id", "text", "text_pair", "label", "split", "ordinal", "generation"]


@dataclass
class Passage:
    """One dataset's way through all steps, and what its jobs came to."""

    name: str
    results: list[tuple[str, Any]] = field(default_factory=list)


class Steps:
    """What every dataset goes through; the same each time."""

    def __init__(self, client: Client, seed: int) -> None:
        self._client = client
        self._random = random.Random(seed)
        first = self._rows(range(ROWS))
        changed = self._random.sample(range(ROWS), ROWS // 2)
        second = self._rows([*changed, *range(ROWS, ROWS + ROWS // 4)])
        self.files = {"first.ndjson": first, "second.ndjson": second}
        self._judged = [f"s{number}" for number in self._random.sample(range(ROWS), 12)]
        self._deleted = [f"s{number}" for number in self._random.sample(range(ROWS), 20)]

    def _rows(self, numbers: Iterable[int]) -> list[dict[str, Any]]:
        return [
            {
                "id": f"s{number}",
                "text": " ".join(self._random.choices(WORDS, k=self._random.randint(1, 9))),
                "label": self._random.randrange(2),
            }
            for number in numbers
        ]

    def lead(self, name: str) -> Passage:
        """A new dataset of this name through all of them."""
        passage = Passage(name)
        for step in self._of(passage):
            step()
        return passage

    def _of(self, passage: Passage) -> list[Callable[[], None]]:
        path = f"/v1/datasets/{passage.name}"
        ask = self._client.ask

        def job(kind: str, **params: Any) -> Callable[[], None]:
            return lambda: self._job(passage, kind, params)

        def judge() -> None:
            for place, sample in enumerate(self._judged):
                verdict = ("correct", "wrong", "unsure")[place % 3]
                passage.results.append(("review", self._verdict(f"{path}/samples/{sample}/review", verdict)))
            for sample in self._judged[:2]:
                self._client.forget(f"{path}/samples/{sample}/review")

        def delete() -> None:
            for sample in self._deleted:
                self._client.forget(f"{path}/samples/{sample}")

        return [
            lambda: ask("PUT", path, json={"task": "classification"}),
            job("import", url="first.ndjson"),
            lambda: ask("POST", f"{path}/items", json={"items": catalogue()}),
            lambda: ask("POST", f"{path}/events", json={"events": behaviour()}),
            job("split", by="stratified", validation=0.2, test=0.1),
            judge,
            job("clean"),
            delete,
            job("label", drop_bots=False),
            job("import", url="second.ndjson"),
            job("split", by="stratified", validation=0.1, test=0.1, seed=7),
            job("label", drop_bots=False, negatives="none"),
            job("clean", near_duplicate_threshold=0.6),
        ]

    def _verdict(self, path: str, verdict: str) -> dict[str, Any]:
        body: dict[str, Any] = {"verdict": verdict}
        if verdict == "wrong":
            present = self._client.ask("GET", path.removesuffix("/review"))["label"]
            standing = self._client.ask("GET", path)["in_force"]
            body["label"] = 1 - present if standing is None else standing["new_label"]
        told = self._client.ask("POST", path, json=body)
        return {name: told[name] for name in ("id", "verdict", "label", "new_label")}

    def _job(self, passage: Passage, kind: str, params: dict[str, Any]) -> None:
        body = {"dataset": passage.name, "kind": kind, "params": params}
        job = self._client.ask("POST", "/v1/jobs", json=body, headers={"Idempotency-Key": uuid.uuid4().hex})
        job = self._client.ended(job["id"], within=JOB_SECONDS)
        result = job["result"] if job["state"] == "succeeded" else job["error"]
        passage.results.append((kind, {k: v for k, v in result.items() if k not in _OF_THE_JOB}))


def catalogue() -> list[dict[str, str]]:
    return [{"item": f"i{item}", "text": f"{WORDS[item % len(WORDS)]} {item}"} for item in range(ITEMS)]


def behaviour() -> list[dict[str, str]]:
    drawn = random.Random(0)
    return [
        {
            "user": f"u{user}",
            "item": f"i{drawn.randrange(ITEMS)}",
            "behavior": drawn.choice(["view", "click", "cart", "buy"]),
            "timestamp": (FIRST_EVENT + timedelta(hours=user, minutes=3 * number)).isoformat(),
        }
        for user in range(USERS)
        for number in range(EVENTS_A_USER)
    ]


class Walker(threading.Thread):
    """Leads one dataset after another through the steps, until it is told to begin none."""

    def __init__(self, steps: Steps, number: int) -> None:
        super().__init__(name=f"walker {number}", daemon=True)
        self._steps = steps
        self._number = number
        self.done: list[Passage] = []
        self.enough = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.enough.is_set():
                self.done.append(self._steps.lead(f"r{self._number}-{len(self.done)}"))
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            self.failure = error


def differences(state: State, stormy: Passage, calm: Passage) -> list[str]:
    """Between what two datasets came to."""
    found = [
        f"{stormy.name}: {kind}: {one}, undisturbed {other}"
        for (kind, one), (_, other) in zip(stormy.results, calm.results, strict=True)
        if one != other
    ]
    for what, look in (("samples", _samples), ("reviews", _reviews), ("events", _events)):
        one, other = look(state, stormy.name), look(state, calm.name)
        if one != other:
            lacking, beyond = list((other - one).items())[:3], list((one - other).items())[:3]
            found.append(f"{stormy.name}: {what}: lacks {lacking}, has {beyond}")
    return found


def _samples(state: State, name: str) -> Counter[tuple[Any, ...]]:
    """Samples that were made of events have ids of their dataset."""
    dataset = state.datasets.get(name)
    rows = state.samples.table(dataset).to_table(columns=_FIELDS).to_pylist()
    flags = flags_of_rows(state, dataset, rows)
    return Counter(
        (
            "" if row["id"].startswith(EVENT_SAMPLES) else row["id"],
            *(row[name] for name in ("text", "text_pair", "label", "split")),
            None if held is None else tuple(held),
        )
        for row, held in zip(rows, flags, strict=True)
    )


def _reviews(state: State, name: str) -> Counter[tuple[Any, ...]]:
    reviews = state.reviews.after(state.datasets.get(name), 0, 10_000)
    return Counter(
        (one.sample_id, one.verdict, one.label and one.label.text, one.new_label and one.new_label.text)
        for one in reviews
    )


def _events(state: State, name: str) -> Counter[str]:
    dataset = state.datasets.get(name)
    return Counter(
        {
            "events": state.events.log.read(dataset, ["item"]).num_rows,
            "items": state.events.items.read(dataset, ["item"]).num_rows,
        }
    )


class _Storm:
    def __init__(self, service: Service, seed: int) -> None:
        self._service = service
        self._random = random.Random(seed)
        self.kills = 0
        self.cuts: list[Cut] = []

    def blow(self, walkers: list[Walker], seconds: float) -> None:
        until = time.monotonic() + seconds
        next_at = time.monotonic() + 1.0
        while any(walker.is_alive() for walker in walkers):
            self._service.revive()
            raise_failure_of(*walkers)
            now = time.monotonic()
            if now > until:
                for walker in walkers:
                    walker.enough.set()
            elif now > next_at:
                self._strike()
                next_at = time.monotonic() + self._random.uniform(0.5, 3.0)
            time.sleep(TICK_SECONDS)
        raise_failure_of(*walkers)

    def _strike(self) -> None:
        if self._random.random() < 0.5:
            worker = self._random.choice(self._service.workers)
            worker.kill()
            worker.launch()
            self.kills += 1
        else:
            self.cuts.append(self._service.lose_tail(self._random))


def run(seconds: float, seed: int, datasets: int) -> int:
    """The exit code."""
    with storm_directory() as work:
        with service_in(work, PLAN, ingest_batch_rows=BATCH_ROWS) as service:
            client = Client(service.address, [], PLAN)  # one for all threads
            steps = Steps(client, seed)
            write_files(steps, work / "data" / "imports")
            walkers = [Walker(steps, number) for number in range(datasets)]
            storm = _Storm(service, seed)
            for walker in walkers:
                walker.start()
            storm.blow(walkers, seconds)
            passages = [passage for walker in walkers for passage in walker.done]
            faults = _faults(service, passages, steps.lead("calm"))
            client.close()
        kinds = Counter(kind for passage in passages for kind, _ in passage.results)
        print(f"worker kills     {storm.kills}")
        print(f"Redis kills      {len(storm.cuts)}; bytes cut: {sum(cut.removed for cut in storm.cuts)}")
        print(f"datasets         {len(passages)}: " + ", ".join(f"{kind} {n}" for kind, n in kinds.items()))
        print(f"faults           {len(faults)}")
        for fault in faults[:SHOWN]:
            print(f"FAULT: {fault}")
        if faults:
            (work / "keep").write_text("\n".join(faults))
            print(f"kept: {work}")
    return 1 if faults else 0


def write_files(steps: Steps, folder: Path) -> None:
    """What the import jobs read."""
    folder.mkdir()
    for name, rows in steps.files.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def _faults(service: Service, passages: list[Passage], calm: Passage) -> list[str]:
    state = open_state(service.settings, outage_seconds=30)
    try:
        found = [fault for one in passages for fault in differences(state, one, calm)]
        return found + check_state(state).faults
    finally:
        state.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--datasets", type=int, default=3, help="that go through the steps at once")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(asked.seconds, asked.seed, asked.datasets)
    except KeyboardInterrupt:
        print("stopped; nothing is left running", flush=True)
        return 130


if __name__ == "__main__":
    sys.exit(main())
