"""What a grow job has come to after a round: kept in a file, from which any later attempt goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from app.store.records import Records
from models.selection import Growth
from workers.score.book import pack_records, unpack_records
from workers.score.checkpoint import Checkpoints, as_tensor
from workers.score.hearing import Hearing

GROWN = "grown.pt"


@dataclass
class Grown:
    """growth: with the core of the next round. rounds: an entry each. coverage: of the gradient norms.
    caution: that chose the next core. steps, seconds: spent. files: of the visits so far. records: the
    scores, None before the first round."""

    growth: Growth
    hearing: Hearing
    rounds: list[dict[str, Any]] = field(default_factory=list)
    coverage: dict[str, Any] = field(default_factory=dict)
    caution: float = 0.0
    steps: int = 0
    seconds: float = 0.0
    files: dict[str, Any] | None = None
    records: Records | None = None

    @property
    def turn(self) -> int:
        """The last round that has ended."""
        return len(self.rounds)

    @property
    def visits(self) -> int:
        """Samples trained on and measured, the controls' included."""
        return sum(int(entry["visits"]) for entry in self.rounds)

    def save(self, checkpoints: Checkpoints) -> None:
        growth, records = self.growth, self.records
        held = {
            "core": torch.from_numpy(growth.core),
            "doubted": torch.from_numpy(growth.doubted),
            "noise": torch.from_numpy(growth.noise),
            "sums": torch.from_numpy(self.hearing.sums),
            "times": torch.from_numpy(self.hearing.times),
            "records": None if records is None else as_tensor(pack_records(records)),
            "files": self.files,
            "plain": {name: getattr(self, name) for name in _PLAIN},
        }
        checkpoints.write(GROWN, held, round=self.turn)

    @classmethod
    def load(cls, checkpoints: Checkpoints, ordinals: int) -> Grown | None:
        held = checkpoints.read(GROWN)
        if held is None:
            return None
        records = held["records"]
        return cls(
            Growth(held["core"].numpy(), held["doubted"].numpy(), held["noise"].numpy()),
            Hearing(held["sums"].numpy(), held["times"].numpy()),
            files=held["files"],
            records=None if records is None else unpack_records(records.numpy().tobytes(), ordinals),
            **held["plain"],
        )


_PLAIN = ("rounds", "coverage", "caution", "steps", "seconds")
