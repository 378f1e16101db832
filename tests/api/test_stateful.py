"""Any order of what clients and workers do leaves the service with what a plain model of it holds.

FUZZ_EXAMPLES: how many such orders are tried; `make fuzz` tries more.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.contracts import JobState
from tests.api.asking import Api, code
from tests.api.service_model import DatasetTwin, JobTwin, Outcome

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "12"))
STEPS = 20
CORE, NOISE = 0.5, 0.2
IDS = ("a", "b", "c", "d", "é")
KINDS = ("application/json", "application/x-ndjson", "text/csv")
_number = itertools.count()

names = st.sampled_from(("first", "first", "first", "second"))
ids = st.sampled_from(IDS)
fixed_labels = st.sampled_from((None, ["no", "yes"], ["yes", "no"], ["no", "yes", "1"]))
rows = st.fixed_dictionaries(
    {"id": st.sampled_from((*IDS, "x/y")), "text": st.sampled_from(("one", "two", " "))},
    optional={
        "label": st.sampled_from(("no", "yes", "1", 1, "", None)),
        "text_pair": st.sampled_from(("pair", None)),
        "split": st.sampled_from(("train", "test")),
        "group": st.sampled_from(("g", None)),
        "weight": st.sampled_from((0.5, 2.0)),
    },
)
verdict_labels = st.sampled_from((None, "no", "yes", "1", "", "odd"))


def body(sent: list[dict[str, Any]], kind: str) -> bytes:
    if kind == "application/json":
        return json.dumps({"samples": sent}).encode()
    if kind == "application/x-ndjson":
        return "\n".join(json.dumps(row) for row in sent).encode()
    file = io.StringIO()
    writer = csv.DictWriter(file, ["id", "text", "label", "text_pair", "split", "group", "weight"])
    writer.writeheader()
    writer.writerows(sent)
    return file.getvalue().encode()


def as_cells(row: dict[str, Any]) -> dict[str, Any]:
    """The row that a CSV says: text, and nothing where a cell is empty."""
    kept = {name: value for name, value in row.items() if value not in (None, "")}
    return kept | {name: str(kept[name]) for name in ("label",) if name in kept}


class ServiceMachine(RuleBasedStateMachine):
    api: Api

    @initialize()
    def begin(self) -> None:
        self.prefix = f"m{next(_number)}-"
        self.datasets: dict[str, DatasetTwin] = {}
        self.jobs: list[JobTwin] = []
        self.keys: dict[str, tuple[tuple[str, int, int], str]] = {}
        self.made = 0
        self.generation_of: dict[str, int] = {}
        self.put("first", None, None, None)
        self.post_good_rows("first", KINDS[0])

    def teardown(self) -> None:
        for job in getattr(self, "jobs", []):
            if job.state == "queued":
                self.api.http.post(f"/v1/jobs/{job.id}/cancel")

    def url(self, name: str, path: str = "") -> str:
        return f"/v1/datasets/{self.prefix}{name}{path}"

    # -- datasets --------------------------------------------------------------------------------------
    @rule(
        name=names,
        labels=fixed_labels,
        text=st.sampled_from((None, "what it is")),
        days=st.sampled_from((None, 7)),
    )
    def put(self, name: str, labels: list[str] | None, text: str | None, days: int | None) -> None:
        asked = {"task": "classification", "labels": labels, "description": text}
        if days is not None:
            asked["settings"] = {"event_retention_days": days}
        response = self.api.http.put(self.url(name), json=asked)
        held = self.datasets.get(name)
        if held is None:
            assert response.status_code == 201, response.text
            self.datasets[name] = DatasetTwin(labels, text, days)
            self.made += 1
            self.generation_of[name] = self.made
            return
        used = {label for label in held.count("label") if label is not None}
        if labels is not None and held.labels is None and not used <= set(labels):
            assert code(response, 409) == "unknown_label"
        elif labels is not None and held.labels not in (None, labels):
            assert code(response, 409) == "dataset_exists"
        else:
            assert response.status_code == 200, response.text
            held.labels = held.labels or labels
            held.description = held.description if text is None else text
            held.retention = held.retention if days is None else days

    @rule(name=names)
    def put_with_another_task(self, name: str) -> None:
        if name in self.datasets:
            response = self.api.http.put(self.url(name), json={"task": "relevance"})
            assert code(response, 409) == "dataset_exists"

    @rule(name=st.sampled_from(("first", "second")), wanted=st.sampled_from((False, False, True)))
    def delete(self, name: str, wanted: bool) -> None:
        if not wanted:
            return
        response = self.api.http.delete(self.url(name))
        if self.datasets.pop(name, None) is None:
            assert code(response, 404) == "unknown_dataset"
            return
        assert response.status_code == 204
        for job in self.jobs:
            if job.dataset == name and job.state == "queued":
                job.state = "cancelled"

    # -- samples ---------------------------------------------------------------------------------------
    @rule(name=names, sent=st.lists(rows, min_size=1, max_size=6), kind=st.sampled_from(KINDS))
    def post(self, name: str, sent: list[dict[str, Any]], kind: str) -> None:
        self._post(name, sent, kind)

    @rule(name=names, kind=st.sampled_from(KINDS))
    def post_good_rows(self, name: str, kind: str) -> None:
        """Enough of both labels that there is something to train on."""
        good = [{"id": one, "text": "one", "label": ("no", "yes")[n % 2]} for n, one in enumerate(IDS)]
        self._post(name, good, kind)

    def _post(self, name: str, sent: list[dict[str, Any]], kind: str) -> None:
        headers = {"Content-Type": kind}
        response = self.api.http.post(self.url(name, "/samples"), content=body(sent, kind), headers=headers)
        held = self.datasets.get(name)
        if held is None:
            assert code(response, 404) == "unknown_dataset"
            return
        outcomes = held.take([as_cells(row) for row in sent] if kind == "text/csv" else sent)
        refused = [index for index, outcome in enumerate(outcomes) if outcome == "rejected"]
        status = 200 if not refused else 422 if len(refused) == len(sent) else 207
        assert response.status_code == status, response.text
        told = response.json()
        expected: dict[Outcome, int] = {
            outcome: outcomes.count(outcome) for outcome in ("created", "updated", "unchanged")
        }
        assert {outcome: told[outcome] for outcome in expected} == expected
        assert sorted(one["index"] for one in told["rejected"]) == refused
        assert told["received"] == len(sent)

    @rule(name=names, sample_id=ids)
    def delete_sample(self, name: str, sample_id: str) -> None:
        response = self.api.http.delete(self.url(name, f"/samples/{sample_id}"))
        held = self.datasets.get(name)
        if held is None or held.samples.pop(sample_id, None) is None:
            assert code(response, 404) == ("unknown_dataset" if held is None else "unknown_sample")
        else:
            assert response.status_code == 204

    # -- reviews ---------------------------------------------------------------------------------------
    @rule(
        name=names,
        sample_id=ids,
        verdict=st.sampled_from(("correct", "wrong", "unsure")),
        label=verdict_labels,
    )
    def review(self, name: str, sample_id: str, verdict: str, label: str | None) -> None:
        asked = {"verdict": verdict, "label": label}
        response = self.api.http.post(self.url(name, f"/samples/{sample_id}/review"), json=asked)
        held = self.datasets.get(name)
        if held is None:
            assert code(response, 404) == "unknown_dataset"
        elif label == "":
            assert code(response, 422) == "invalid_label"
        elif label is not None and held.labels is not None and label not in held.labels:
            assert code(response, 422) == "unknown_label"
        elif sample_id not in held.samples:
            assert code(response, 404) == "unknown_sample"
        else:
            became = held.samples[sample_id].judge(verdict, label)
            held.reviews += became == "new"
            if became in ("new", "same"):
                assert response.status_code == 200, response.text
                assert response.json()["verdict"] == verdict
            else:
                refusal = {"contradictory": "contradictory_review", "no_label": "no_label"}[became]
                assert code(response, 422) == refusal

    @rule(name=names, sample_id=ids)
    def take_back(self, name: str, sample_id: str) -> None:
        response = self.api.http.delete(self.url(name, f"/samples/{sample_id}/review"))
        held = self.datasets.get(name)
        if held is None or sample_id not in held.samples:
            assert code(response, 404) == ("unknown_dataset" if held is None else "unknown_sample")
            return
        became = held.samples[sample_id].take_back(held.labels)
        if became == "none":
            assert code(response, 404) == "no_review"
        elif became == "unknown_label":
            assert code(response, 422) == "unknown_label"
        else:
            assert response.json()["verdict"] == "undo"
            held.reviews += 1

    # -- jobs ------------------------------------------------------------------------------------------
    @rule(name=names, seed=st.integers(1, 2), key=st.sampled_from((None, "k1", "k2")))
    def create_job(self, name: str, seed: int, key: str | None) -> None:
        asked = {"dataset": self.prefix + name, "kind": "score", "params": {"seed": seed}}
        headers = {} if key is None else {"Idempotency-Key": self.prefix + key}
        response = self.api.http.post("/v1/jobs", json=asked, headers=headers)
        held = self.datasets.get(name)
        if held is None:
            assert code(response, 404) == "unknown_dataset"
            return
        classes = {sample.fields["label"] for sample in held.trainable().values()}
        if len(classes) < 2:
            assert code(response, 422) == ("too_few_classes" if classes else "dataset_empty")
            return
        request = (name, self.generation_of[name], seed)
        if key in self.keys:
            before, job_id = self.keys[key]
            if before != request:
                assert code(response, 409) == "idempotency_key_reused"
            else:
                assert response.json()["id"] == job_id
            return
        assert response.status_code == 202, response.text
        assert response.headers["Location"] == f"/v1/jobs/{response.json()['id']}"
        self.jobs.append(JobTwin(response.json()["id"], name))
        if key is not None:
            self.keys[key] = (request, response.json()["id"])

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        response = self.api.http.post(f"/v1/jobs/{job.id}/cancel")
        if job.state in ("succeeded", "failed"):
            assert code(response, 409) == "job_finished"
        else:
            job.state = "cancelled"
            assert (response.status_code, response.json()["state"]) == (202, "cancelled")

    @precondition(lambda self: any(job.state == "queued" for job in self.jobs))
    @rule(norms_of=st.fixed_dictionaries(dict.fromkeys(IDS, st.integers(0, 3))))
    def work(self, norms_of: dict[str, int]) -> None:
        """A worker takes a job, and scores what may be trained on, or fails where nothing is left."""
        claim = self.api.player.claim()
        job = next(job for job in self.jobs if job.id == claim.job.id)
        assert job.state == "queued"
        held = self.datasets[job.dataset]
        norms = {one: float(norms_of[one]) for one in held.trainable()}
        job.state = "succeeded" if norms else "failed"
        if norms:
            dataset = self.api.state.datasets.get(self.prefix + job.dataset)
            self.api.player.write(dataset, {one: [norm] for one, norm in norms.items()}, claim.token)
            self.api.player.publish(dataset, {one: [norm] for one, norm in norms.items()}, claim, CORE, NOISE)
            held.score(norms, CORE, NOISE)
        self.api.player.end(claim, JobState(job.state))

    # -- what holds after each step --------------------------------------------------------------------
    @invariant()
    def datasets_are_described(self) -> None:
        shown = {item["name"] for item in self.api.http.get("/v1/datasets").json()["items"]}
        assert {name for name in shown if name.startswith(self.prefix)} == {
            self.prefix + n for n in self.datasets
        }
        for name, held in self.datasets.items():
            told = self.api.http.get(self.url(name)).json()
            assert told["labels"] == held.labels
            assert told["description"] == held.description
            assert told["settings"]["event_retention_days"] == held.retention
            assert told["samples"] == len(held.samples)
            assert {split: n for split, n in told["splits"].items() if n} == held.count("split")
            counted = {one["label"]: one["samples"] for one in told["label_counts"]}
            assert {None if label is None else str(label): n for label, n in counted.items()} == held.count(
                "label"
            )
            assert told["set_version"] == (held.version or None)

    @invariant()
    def samples_are_listed(self) -> None:
        for name, held in self.datasets.items():
            assert self.api.walk("/samples", self.prefix + name, limit=2) == list(held.samples)
            for label in ("no", "1"):
                found = self.api.walk("/samples", self.prefix + name, limit=3, label=label)
                assert found == [one for one, twin in held.samples.items() if twin.fields["label"] == label]

    @invariant()
    def scores_are_those_of_the_content(self) -> None:
        for name, held in self.datasets.items():
            asked = self.api.http.post(self.url(name, "/scores/lookup"), json={"ids": [*IDS, "nobody"]})
            for sample_id, score in zip([*IDS, "nobody"], asked.json()["scores"], strict=True):
                twin = held.samples.get(sample_id)
                assert (score is None) is (twin is None)
                if twin is not None:
                    assert (score["visits"], score["set"]) == (len(twin.norms), twin.set)
                    assert score["importance"] == pytest.approx(twin.importance)

    @invariant()
    def sets_hold_their_members(self) -> None:
        for name, held in self.datasets.items():
            versions = self.api.http.get(self.url(name, "/sets")).json()["items"]
            assert [one["version"] for one in versions] == list(range(held.version, 0, -1))
            for set_name in ("core", "edge", "noise") if held.version else ():
                found = self.api.walk(f"/sets/{set_name}", self.prefix + name, limit=2)
                assert sorted(found) == sorted(
                    one for one, twin in held.samples.items() if twin.set == set_name
                )
                for sample_id, twin in held.samples.items():
                    told = self.api.http.get(self.url(name, f"/sets/{set_name}/{sample_id}")).json()
                    assert (told["member"], told["set"]) == (twin.set == set_name, twin.set)

    @invariant()
    def reviews_are_kept(self) -> None:
        for name, held in self.datasets.items():
            page = self.api.http.get(self.url(name, "/reviews")).json()
            assert [one["sequence"] for one in page["items"]] == list(range(1, held.reviews + 1))
            for sample_id, twin in held.samples.items():
                told = self.api.http.get(self.url(name, f"/samples/{sample_id}/review")).json()["in_force"]
                assert (told and told["verdict"]) == (twin.in_force and twin.in_force.verdict)

    @invariant()
    def jobs_are_listed_newest_first(self) -> None:
        for name in ("first", "second"):
            told: list[tuple[str, str]] = []
            asked: dict[str, Any] = {"dataset": self.prefix + name, "limit": 2}
            while True:
                page = self.api.http.get("/v1/jobs", params=asked).json()
                told += [(job["id"], job["state"]) for job in page["items"]]
                if page["next_cursor"] is None:
                    break
                asked["cursor"] = page["next_cursor"]
            assert told == [(job.id, job.state) for job in reversed(self.jobs) if job.dataset == name]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_service_holds_what_a_model_of_it_holds(api: Api) -> None:
    machine = type("Machine", (ServiceMachine,), {"api": api})
    bounds = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize="FUZZ_EXAMPLES" not in os.environ,
        phases=(Phase.explicit, Phase.generate),  # each step is many requests: shrinking takes minutes
        print_blob=True,
    )
    run_state_machine_as_test(machine, settings=bounds)
