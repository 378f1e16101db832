"""What a storm came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tests.chaos.blows import Blows
from tests.chaos.compare import Verdict
from tests.chaos.plan import Plan

SHOWN_FAULTS = 20


@dataclass(frozen=True)
class Report:
    """kinds: of the jobs that ended, how many of each."""

    plan: Plan
    blows: Blows
    kinds: Counter[str]
    attempts: int
    uploads: int
    recoveries: list[float]
    disturbed: int
    seconds: float
    verdicts: list[Verdict]

    @property
    def pairs(self) -> int:
        return sum(verdict.pairs for verdict in self.verdicts)

    @property
    def wrong(self) -> int:
        return sum(verdict.wrong for verdict in self.verdicts)

    @property
    def faults(self) -> list[str]:
        return [*(fault for verdict in self.verdicts for fault in verdict.faults), *self._lacking()]

    def _lacking(self) -> Iterator[str]:
        """What the time did not suffice for."""
        plan, blows = self.plan, self.blows
        for what, done, planned in (
            ("worker kills", blows.kills, plan.kills),
            ("stops", blows.stops, plan.stops),
            ("Redis kills", len(blows.cuts), plan.redis_kills),
            ("duplicates", blows.duplicates, plan.duplicates),
            ("pairs", self.pairs, plan.pairs),
        ):
            if done < planned:
                yield f"{done} {what} are fewer than the {planned} of the plan"

    def text(self) -> str:
        cuts = [cut.removed for cut in self.blows.cuts]
        lines = [
            f"seed                  {self.plan.seed}",
            f"worker kills          {self.blows.kills} ({self.blows.kills_at_work} of them at work)",
            f"workers stopped       {self.blows.stops}, each past its lease",
            f"Redis kills           {len(cuts)}; bytes cut: {sum(cuts)} "
            f"(median {np.median(cuts or [0]):.0f}, most {max(cuts, default=0)}), "
            f"{sum(cut.torn for cut in self.blows.cuts)} in the middle of a command",
            f"duplicate messages    {self.blows.duplicates}; lost: {self.blows.lost}",
            f"uploads meanwhile     {self.uploads}",
            f"jobs                  {self.kinds.total()}, in {self.attempts} attempts: "
            + ", ".join(f"{kind} {count}" for kind, count in self.kinds.most_common()),
            f"recovery of a killed job, to its next step: {_times(self.recoveries)}; "
            f"{self.disturbed} more were struck again before",
            f"pairs compared        {self.pairs}",
            f"wrong                 {self.wrong}",
            f"took                  {self.seconds:.0f} s",
        ]
        lines += [f"FAULT: {fault}" for fault in self.faults[:SHOWN_FAULTS]]
        return "\n".join(lines)


def _times(seconds: list[float]) -> str:
    if not seconds:
        return "none measured"
    median, p99 = np.percentile(seconds, [50, 99])
    return f"median {median:.1f} s, p99 {p99:.1f} s, max {max(seconds):.1f} s ({len(seconds)} measured)"
