"""The rule that says which split a sample is in: made once from the samples, then in force for later ones."""

from __future__ import annotations

from enum import StrEnum

from app.contracts.base import Record, Timestamp


class SplitBy(StrEnum):
    STRATIFIED = "stratified"
    GROUP = "group"
    TIME = "time"


class Stratum(Record):
    """Where the cuts lie in [0, 1) for the samples of one label, or with `label` null for all groups.

    A sample's place is a keyed hash of its id, or of its group: below `test_below` it is in test, else below
    `validation_below` in validation, else in train.
    """

    label: str | None
    samples: int
    test_below: float
    validation_below: float


class SplitRule(Record):
    """Kept with the dataset. Times are numbers as `time_of` gives them: test from `test_from` on, validation
    from `validation_from` on; null where no sample is late enough."""

    by: SplitBy
    validation: float
    test: float
    seed: int
    field: str | None
    keep: tuple[str, ...]
    strata: tuple[Stratum, ...] = ()
    validation_from: float | None = None
    test_from: float | None = None
    job: str
    created_at: Timestamp
    applied: bool = False
    """Whether the samples that were there have their places; until then only new ones follow the rule."""

    @property
    def follows(self) -> bool:
        """Whether a sample goes where others of its group are, whatever its own place is."""
        return self.by is SplitBy.TIME or (self.by is SplitBy.GROUP and bool(self.keep))
