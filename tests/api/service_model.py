"""What the service ought to hold, as plain objects: the slow twin of the stateful test."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["created", "updated", "unchanged", "rejected"]
CONTENT = ("text", "text_pair", "label", "split")
BESIDE = ("number", "group", "weight")


def fields_of(row: dict[str, Any]) -> dict[str, Any]:
    """A row's fields as they are stored: the label as text, and whether it was a number."""
    label = row.get("label")
    return {
        "text": row["text"],
        "text_pair": row.get("text_pair"),
        "label": None if label is None else str(label),
        "number": isinstance(label, int),
        "split": row.get("split") or "train",
        "group": row.get("group"),
        "weight": row.get("weight"),
    }


@dataclass
class VerdictTwin:
    """generation: of the content that it holds for; `judged` the one that it was given on."""

    verdict: str
    judged: int
    generation: int
    old: tuple[str, bool]
    new: str | None


@dataclass
class SampleTwin:
    """norms: of its visits, as long as they hold. verdicts: those not taken back, oldest first."""

    fields: dict[str, Any]
    generation: int = 0
    norms: list[float] = field(default_factory=list)
    set: str = "unscored"
    verdicts: list[VerdictTwin] = field(default_factory=list)

    def take(self, fields: dict[str, Any]) -> Outcome:
        old, self.fields = self.fields, fields
        if any(old[name] != fields[name] for name in CONTENT):
            self.generation += 1
            self.norms, self.set = [], "unscored"
        return "unchanged" if old == fields else "updated"

    def relabel(self, label: str, number: bool) -> None:
        self.take({**self.fields, "label": label, "number": number})

    @property
    def importance(self) -> float | None:
        return sum(self.norms) / len(self.norms) if self.norms else None

    @property
    def in_force(self) -> VerdictTwin | None:
        last = self.verdicts[-1] if self.verdicts else None
        return last if last is not None and last.generation == self.generation else None

    def judge(self, verdict: str, label: str | None) -> Literal["new", "same", "contradictory", "no_label"]:
        present = self.fields["label"]
        if present is None:
            return "no_label"
        other = None if label == present else label
        held = self.in_force
        if (
            held is not None
            and held.verdict == verdict
            and held.new == (label if verdict == "wrong" else other)
        ):
            return "same"
        if (verdict == "wrong") is (other is None) and label is not None:
            return "contradictory"
        old = (present, self.fields["number"])
        judged = self.generation
        if other is not None:
            self.relabel(other, number=False)
        self.verdicts.append(VerdictTwin(verdict, judged, self.generation, old, other))
        return "new"

    def take_back(self, labels: list[str] | None) -> Literal["undone", "none", "unknown_label"]:
        if not self.verdicts:
            return "none"
        last = self.verdicts[-1]
        puts_back = last.new is not None and self.fields["label"] == last.new
        if puts_back and labels is not None and last.old[0] not in labels:
            return "unknown_label"
        self.verdicts.pop()
        if puts_back:
            was_its_own = self.generation == last.generation
            self.relabel(*last.old)
            for one in self.verdicts:
                if was_its_own and one.generation == last.judged:
                    one.generation = self.generation
        return "undone"


@dataclass
class DatasetTwin:
    labels: list[str] | None
    description: str | None
    retention: int | None = None
    samples: dict[str, SampleTwin] = field(default_factory=dict)
    """In the order of their coming; one that comes back is the last."""
    reviews: int = 0
    version: int = 0

    def take(self, rows: list[dict[str, Any]]) -> list[Outcome]:
        """What becomes of each row of one request."""
        sent: set[str] = set()
        return [self._take(row, sent) for row in rows]

    def _take(self, row: dict[str, Any], sent: set[str]) -> Outcome:
        if not self._storable(row) or row["id"] in sent:
            return "rejected"
        sent.add(row["id"])
        held = self.samples.get(row["id"])
        if held is not None:
            return held.take(fields_of(row))
        self.samples[row["id"]] = SampleTwin(fields_of(row))
        return "created"

    def _storable(self, row: dict[str, Any]) -> bool:
        label = row.get("label")
        known = self.labels is None or label is None or str(label) in self.labels
        return "/" not in row["id"] and bool(row["text"].strip()) and label != "" and known

    def trainable(self) -> dict[str, SampleTwin]:
        return {
            sample_id: sample
            for sample_id, sample in self.samples.items()
            if sample.fields["split"] == "train" and sample.fields["label"] is not None
        }

    def count(self, name: str) -> Counter[Any]:
        return Counter(sample.fields[name] for sample in self.samples.values())

    def score(self, norms: dict[str, float], core: float, noise: float) -> None:
        """One more visit each; then all sets anew: highest norm core, lowest noise, ties by id."""
        for sample_id, norm in norms.items():
            self.samples[sample_id].norms.append(norm)
        self.version += 1
        for sample in self.samples.values():
            sample.set = "unscored"
        order = sorted(norms, key=lambda sample_id: (-norms[sample_id], sample_id))
        cores, noises = int(len(order) * core), int(len(order) * noise)
        for place, sample_id in enumerate(order):
            in_noise = place >= len(order) - noises
            self.samples[sample_id].set = "core" if place < cores else "noise" if in_noise else "edge"


@dataclass
class JobTwin:
    id: str
    dataset: str
    state: str = "queued"
