"""What the last clean job found of samples, as they are now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.contracts import Dataset, Split
from app.contracts.flags import SampleFlag, bits_of, flags_of
from app.errors import Damaged, NotFound, Unavailable
from app.logs import get_logger
from app.store.flags import Flags
from app.store.results import REPORT_JSON
from app.store.state import State

log = get_logger(__name__)


def flags_of_rows(
    state: State, dataset: Dataset, rows: Sequence[dict[str, Any]]
) -> list[list[SampleFlag] | None]:
    """The flags of each row; None where no clean job has seen the sample as it is."""
    flags = _held_or_none(state, dataset)
    if flags is None:
        return [None] * len(rows)
    ordinals = np.array([row["ordinal"] for row in rows], dtype=np.int64)
    generations = np.array([row["generation"] for row in rows], dtype=np.uint32)
    bits, checked = flags.of(ordinals, generations)
    return [
        flags_of(each) if seen else None for each, seen in zip(bits.tolist(), checked.tolist(), strict=True)
    ]


def flagged(
    state: State, dataset: Dataset, flag: SampleFlag, generations: NDArray[np.uint32]
) -> NDArray[np.bool_]:
    """(n,) whether each ordinal has the flag; generations: (n,) the present ones.

    Raises NotFound `not_cleaned`.
    """
    bits, _ = _held(state, dataset).of(np.arange(len(generations)), generations)
    has: NDArray[np.bool_] = (bits & np.uint32(bits_of([flag]))) != 0
    return has


def cleaning_report(state: State, dataset: Dataset) -> dict[str, Any]:
    """How many samples have each flag now, and what the dataset's settings leave out.

    Raises:
        NotFound: `not_cleaned`.
        Unavailable: `damaged_file`.
    """
    flags = _held(state, dataset)
    job = state.jobs.get(flags.job)
    ordinals, generations = state.samples.generations(dataset)
    bits, checked = flags.of(ordinals, generations)
    splits = flags.splits[np.where(checked, ordinals, 0)] if checked.any() else np.zeros(len(bits), np.uint8)
    excluding = np.uint32(bits_of(dataset.settings.exclude_flags))
    in_train = splits == list(Split).index(Split.TRAIN)
    return {
        "job": job.id,
        "finished_at": job.finished_at,
        "params": job.params,
        "samples": len(ordinals),
        "unchecked": int((~checked).sum()),
        "flagged": int((bits != 0).sum()),
        "flags": {flag: _counts(bits & np.uint32(bits_of([flag])), splits) for flag in SampleFlag},
        "exclude_flags": dataset.settings.exclude_flags,
        "excluded": int(((bits & excluding != 0) & in_train).sum()),
        "examples": _examples(state, dataset, flags),
    }


def _counts(held: NDArray[np.uint32], splits: NDArray[np.uint8]) -> dict[str, int]:
    by_split = {split.value: int((held[splits == place] != 0).sum()) for place, split in enumerate(Split)}
    return {"samples": sum(by_split.values()), **by_split}


def _examples(state: State, dataset: Dataset, flags: Flags) -> dict[str, list[dict[str, Any]]]:
    """Those of the job's report whose samples are as they were then: a text that was deleted is not shown."""
    content = state.results.of_job(dataset.uid, flags.job).read(REPORT_JSON)
    examples = {} if content is None else msgspec.json.decode(content)["examples"]
    told = [one for some in examples.values() for one in some]
    named = [one for example in told for one in (example, example["of"]) if one is not None]
    rows = state.samples.by_ordinals(dataset, sorted({one["ordinal"] for one in named}), ["generation"])
    present = {(ordinal, row["generation"]) for ordinal, row in rows.items()}

    def is_present(one: dict[str, Any] | None) -> bool:
        return one is None or (one["ordinal"], one["generation"]) in present

    return {
        flag: [one for one in some if is_present(one) and is_present(one["of"])]
        for flag, some in examples.items()
    }


def _held(state: State, dataset: Dataset) -> Flags:
    try:
        flags = state.flags.in_force(dataset)
    except Damaged as error:
        raise Unavailable(error.code, error.detail, remedy=error.remedy) from error
    if flags is None:
        raise NotFound("not_cleaned", f"no clean job of dataset {dataset.name!r} has succeeded")
    return flags


def _held_or_none(state: State, dataset: Dataset) -> Flags | None:
    """A sample can be read though its flags cannot."""
    try:
        return state.flags.in_force(dataset)
    except Damaged as error:
        log.warning("flags cannot be read", code=error.code, detail=error.detail)
        return None
