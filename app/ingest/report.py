"""What became of the rows of one request, whatever they were of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from app.ingest.rows import RowError

REJECTIONS_LISTED = 10_000


@dataclass
class IngestReport:
    """masked: how many places of each kind of personal data."""

    received: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected_total: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)
    masked: Counter[str] = field(default_factory=Counter)

    @property
    def stored(self) -> int:
        return self.created + self.updated + self.unchanged

    def reject(self, index: int, error: RowError) -> None:
        self.rejected_total += 1
        if len(self.rejected) < REJECTIONS_LISTED:
            self.rejected.append(
                {"index": index, "id": error.sample_id, "code": error.code, "detail": error.detail}
            )
