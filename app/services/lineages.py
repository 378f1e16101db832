"""The lineages of a dataset, each with its runs and where their numbers come from."""

from __future__ import annotations

from typing import Any

from app.contracts import Dataset, Lineage
from app.store.state import State

Row = dict[str, Any]


def list_lineages(state: State, dataset: Dataset, limit: int) -> list[Row]:
    """Newest first. A run of before provenance was kept has none."""
    archive = state.archive.of_dataset(dataset)
    held = [Lineage.model_validate_json(content) for content in archive.lineages().values()]
    newest = sorted(held, key=lambda lineage: (lineage.created_at, lineage.id), reverse=True)[:limit]
    return [
        {
            **lineage.model_dump(),
            "active": lineage.id == dataset.lineage,
            "runs": _runs(state, dataset, lineage),
        }
        for lineage in newest
    ]


def _runs(state: State, dataset: Dataset, lineage: Lineage) -> list[Row]:
    """Newest first."""
    deltas = state.archive.of_dataset(dataset).deltas(lineage.id)
    told, runs = deltas.provenance(), {run.number: run for run in deltas.runs()}
    return [
        {
            "run": number,
            "job": told.get(number, {}).get("job") or (runs[number].job if number in runs else None),
            "ended": number in runs and runs[number].closed,
            "epochs": len(runs[number].epochs) if number in runs else 0,
            "provenance": told.get(number),
        }
        for number in sorted({*told, *runs}, reverse=True)
    ]


def provenance_of(state: State, dataset: Dataset, lineage_id: str, job: str) -> Row | None:
    """Of the run of a lineage that a job was."""
    held = state.archive.of_dataset(dataset).deltas(lineage_id).provenance()
    return next((told for told in held.values() if told.get("job") == job), None)
