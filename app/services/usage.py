"""What a dataset takes up, by part."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass

from app.contracts import Dataset
from app.settings import Settings
from app.store.artifacts import ArtifactStore, jobs_with_artifacts
from app.store.explanations import FOLDER as EXPLANATION
from app.store.results import MODEL
from app.store.state import State
from app.store.usage import RedisPart, bytes_below, files_below, redis_usage

FILES = (
    *("samples", "events", "reviews", "visits", "sets", "responses"),
    *("models", "explanations", "other_results", "checkpoints", "other"),
)
REDIS = ("ids", "scores", "sets", "other")


@dataclass(frozen=True)
class Usage:
    """files: bytes. versions, pinned: of the samples' table; pinned ones are kept for jobs or a backup."""

    files: dict[str, int]
    redis: dict[str, RedisPart]
    versions: int
    pinned: list[str]
    deletions_pending: int


def usage(state: State, settings: Settings, dataset: Dataset) -> Usage:
    """Reads the names of all of its files, and of its keys: seconds, for a large dataset."""
    files = Counter(dict.fromkeys(FILES, 0))
    files["samples"] = bytes_below(state.samples.location(dataset))
    files["events"] = sum(bytes_below(table.location(dataset)) for table in state.events.tables.values())
    files["reviews"] = bytes_below(state.reviews.location(dataset))
    archive = state.archive.of_dataset(dataset)
    for name, size in files_below(archive.folder.location):
        place = name.partition("/")[0]
        files[{"lineages": "visits", "sets": "sets"}.get(place, "other")] += size
    files["responses"] = bytes_below(state.responses.folder(dataset.uid).location)
    for name, size in files_below(state.results.folder(dataset.uid).location):
        kind = name.split("/")[1]
        files[{MODEL: "models", EXPLANATION: "explanations"}.get(kind, "other_results")] += size
    for job_id in set(jobs_with_artifacts(settings.data_url)).intersection(state.jobs.ids_of(dataset.uid)):
        files["checkpoints"] += bytes_below(ArtifactStore(settings.data_url, job_id).location)
    held = redis_usage(state.client, state.keys.dataset(dataset.uid))
    table = state.samples.upkeep(dataset, nullcontext)
    return Usage(
        files=dict(files),
        redis={part: held.get(part, RedisPart(0, 0)) for part in REDIS},
        versions=len(table.versions()),
        pinned=sorted(table.tags()),
        deletions_pending=len(archive.deletions().all()),
    )
