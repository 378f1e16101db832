"""Checks every invariant of the state, piece by piece and beside a running service."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from app.contracts import Dataset
from app.errors import Damaged, NotFound
from app.services.verify.audit import check_audit
from app.services.verify.findings import Finding, Findings, confirmed
from app.services.verify.ids import check_ids
from app.services.verify.jobs import check_jobs
from app.services.verify.keys import check_keys
from app.services.verify.registry import (
    check_journal,
    check_lineages,
    check_meta_hash,
    check_registered,
    orphaned_keys,
)
from app.services.verify.reviews import check_reviews
from app.services.verify.scores import ScoreCheck
from app.services.verify.sets import check_sets
from app.store.inspection import Inspection
from app.store.state import State

__all__ = ["Finding", "verify"]
Report = Callable[[str], None]
"""Told what is being checked."""


def verify(state: State, names: Sequence[str], report: Report) -> Iterator[Finding]:
    """What is wrong with the named datasets; with all of them, and with the jobs, when none is named.

    Each dataset is checked piece by piece. What looks wrong is looked at again under the dataset's write
    lock, so that samples, ids and sets are of one moment; scores are compared with the visits only where the
    run that wrote them has ended.

    Raises:
        NotFound: there is no dataset of that name.
    """
    inspection = Inspection(state.client, state.keys)
    registry = inspection.registry()
    missing = sorted(set(names) - set(registry))
    if missing:
        raise NotFound("unknown_dataset", f"there is no dataset named {', '.join(missing)}")
    for name, uid in sorted(registry.items()):
        if not names or name in names:
            yield from _of_dataset(state, inspection, name, uid, report)
    if not names:
        report("jobs")
        yield from check_jobs(state, inspection)
        report("API keys")
        yield from check_keys(state)
        report("audit")
        yield from check_audit(state)
        report("keys")
        yield from orphaned_keys(state, inspection)


def _of_dataset(
    state: State, inspection: Inspection, name: str, uid: str, report: Report
) -> Iterator[Finding]:
    registered = check_registered(inspection, state, name, uid)
    dataset = state.datasets.by_uid(uid)
    if registered or dataset is None:
        # Deleted since the registry was read?
        if inspection.registry().get(name) == uid:
            yield from registered
        return
    try:
        for findings in _checks(state, inspection, dataset, report):
            yield from findings
    except NotFound:
        if state.datasets.by_uid(uid) is not None:
            raise
    except Damaged as error:
        yield Finding("archive", error.detail, name)


def _checks(state: State, inspection: Inspection, dataset: Dataset, report: Report) -> Iterator[Findings]:
    report(f"{dataset.name}: registry")
    yield confirmed(state, dataset, lambda: check_meta_hash(state, inspection, dataset))
    yield confirmed(state, dataset, lambda: check_lineages(state, inspection, dataset))
    yield confirmed(state, dataset, lambda: check_journal(state, dataset))
    report(f"{dataset.name}: ids")
    yield from check_ids(state, inspection, dataset)
    report(f"{dataset.name}: reviews")
    yield confirmed(state, dataset, lambda: check_reviews(state, dataset))
    report(f"{dataset.name}: scores")
    for lineage_id in state.archive.of_dataset(dataset).lineages():
        lineage = state.datasets.lineage(dataset, lineage_id)
        if lineage is not None:
            yield from ScoreCheck(state, inspection, dataset, lineage).findings()
    report(f"{dataset.name}: sets")
    yield from check_sets(state, inspection, dataset)
