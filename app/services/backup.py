"""A copy of the whole state, taken beside a running service.

A backup holds what Redis can be rebuilt from, not Redis: of each dataset its samples at one moment, its
archive as of the same moment, and the job records. That needs the dataset's write lock for a moment only,
whatever its size, and restoring is copying back and rebuilding (`app.services.restore`).

    backup.json                             written last: every file with its length and SHA-256
    datasets/<name>-<uid>/samples.parquet
    datasets/<name>-<uid>/reviews.parquet   where there are any
    datasets/<name>-<uid>/events.parquet, items.parquet    the behaviour log and its catalogue, likewise
    datasets/<name>-<uid>/archive/…         manifest, lineages, visits, set versions
    datasets/<name>-<uid>/responses/…       mean projected gradients, where there are any
    datasets/<name>-<uid>/results/…         files that its jobs left
    jobs/<id>.json
    keys/<id>.json                          API keys: salted hashes
    audit/…                                 the audit log

A job that has not ended is in it as queued, without the run that it was in the middle of: after a restore it
begins anew.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from app.contracts import Dataset, JobState, Progress
from app.errors import Conflict, NotFound
from app.services.audit import seal_audit
from app.services.backup_files import CHUNK, BackupWriter
from app.store import review_log
from app.store.archive import MANIFEST, DatasetArchive, Fields
from app.store.deltas import run_of
from app.store.inspection import Inspection
from app.store.samples import SCHEMA
from app.store.state import State
from app.store.unfinished import finish_write

TRIES = 100
TRY_AGAIN_SECONDS = 0.2
OF_AN_ATTEMPT = ("token", "worker", "started_at", "lineage", "fixed:run", "fixed:exclusion", "crashes")
"""What the record of a job has since its first attempt."""
Report = Callable[[str], None]
"""Told what is being copied."""


@dataclass(frozen=True)
class Moment:
    """One moment of a dataset: versions of its samples, of its reviews (None: there are none) and of its
    events (0: likewise), names of its archive's files, its jobs."""

    dataset: Dataset
    version: int
    reviews: int | None
    events: dict[str, int]
    manifest: bytes
    files: tuple[str, ...]
    responses: tuple[str, ...]
    results: tuple[str, ...]
    jobs: tuple[Fields, ...]


@dataclass(frozen=True)
class BackedUp:
    datasets: int
    jobs: int
    files: int
    size: int


def backup(state: State, to: str, report: Report) -> BackedUp:
    """Writes a backup to a new or empty place.

    Raises:
        Conflict: the place holds files already; a dataset was busy for too long.
    """
    writer = BackupWriter(to)
    jobs: dict[str, Fields] = {}
    copied = 0
    for name in state.datasets.names():
        report(f"{name}: waiting for its write lock")
        taken = _dataset(state, writer, name, report)
        if taken is not None:
            jobs.update({fields["id"]: fields for fields in taken.jobs})
            copied += 1
    for job_id in sorted(Inspection(state.client, state.keys).job_ids() - jobs.keys()):
        fields = state.archive.job_record(job_id)
        if fields is not None and JobState(fields["state"]).ended:  # of a dataset that was deleted
            jobs[job_id] = fields
    for key in state.key_archive.held().values():
        writer.write(f"keys/{key.id}.json", key.model_dump_json(indent=1).encode())
    for job_id, fields in jobs.items():
        writer.write(f"jobs/{job_id}.json", json.dumps(fields, sort_keys=True, indent=1).encode())
    _audit(state, writer)
    report("checksums")
    files, size = writer.close()
    return BackedUp(copied, len(jobs), files, size)


def _audit(state: State, writer: BackupWriter) -> None:
    """The files of the audit log, with all that is entered by now."""
    seal_audit(state)
    folder = state.audit.files.folder
    for _ in range(TRIES):
        try:
            for name in folder.names():
                with writer.writing(f"audit/{name}") as stream, folder.open(name) as content:
                    while chunk := content.read(CHUNK):
                        stream.write(chunk)
        except FileNotFoundError:
            writer.forget("audit")  # joined with others meanwhile
        else:
            return


def _dataset(state: State, writer: BackupWriter, name: str, report: Report) -> Moment | None:
    """Copies one dataset; None if it is deleted meanwhile."""
    for _ in range(TRIES):
        tag = f"backup-{secrets.token_hex(8)}"
        dataset = state.datasets.find(name)
        if dataset is None:
            return None
        moment = _moment(state, dataset, tag)
        if moment is None:
            time.sleep(TRY_AGAIN_SECONDS)
            continue
        report(f"{name}: copying")
        try:
            _copy(state, writer, moment)
        except (FileNotFoundError, NotFound):
            writer.forget(_home(dataset))  # a version was dropped meanwhile, or the dataset was deleted
        else:
            return moment
        finally:
            if state.datasets.by_uid(dataset.uid) is not None:
                state.samples.unpin(dataset, tag)
                state.reviews.unpin(dataset, tag)
                state.events.unpin(dataset, tag)
    raise Conflict("dataset_busy", f"dataset {name!r} changed too often while it was copied")


def _moment(state: State, dataset: Dataset, tag: str) -> Moment | None:
    """The dataset as it is; None while a job is between publishing its sets and its end."""
    home = state.archive.of_dataset(dataset)
    with state.datasets.writing(dataset):
        finish_write(state, dataset)
        state.archive.save_manifest(dataset)
        jobs = _jobs_of(state, dataset)
        unended = _unended_runs(jobs)
        running = {fields["id"] for fields in jobs if not JobState(fields["state"]).ended}
        if any(version.job in running for version in state.sets.versions(dataset)):
            return None
        return Moment(
            dataset=dataset,
            version=state.samples.pin(dataset, tag),
            reviews=state.reviews.pin(dataset, tag),
            events=state.events.pin(dataset, tag),
            manifest=home.folder.read(MANIFEST) or b"",
            files=tuple(_files(home, unended, set(state.sets.numbers(dataset)))),
            responses=tuple(_responses(state, dataset, unended)),
            results=tuple(_results(state, dataset, jobs)),
            jobs=tuple(_as_new(fields) for fields in jobs),
        )


def _jobs_of(state: State, dataset: Dataset) -> list[Fields]:
    ids = sorted(Inspection(state.client, state.keys).job_ids())
    records = (state.archive.job_record(job_id) for job_id in ids)
    return [fields for fields in records if fields is not None and fields["uid"] == dataset.uid]


def _as_new(fields: Fields) -> Fields:
    """A job that has not ended, as it was when it was made."""
    if JobState(fields["state"]).ended:
        return fields
    kept = {name: value for name, value in fields.items() if name not in OF_AN_ATTEMPT}
    fresh = {"state": JobState.QUEUED.value, "attempt": "0", "crashes": "0"}
    return kept | fresh | {"progress": Progress().model_dump_json()}


def _unended_runs(jobs: list[Fields]) -> set[tuple[str, int]]:
    """Lineage and number of the runs that jobs are in the middle of."""
    middle = [fields for fields in jobs if "fixed:run" in fields and not JobState(fields["state"]).ended]
    return {(lineage, run) for lineage, run in (json.loads(fields["fixed:run"]) for fields in middle)}


def _files(home: DatasetArchive, unended: Set[tuple[str, int]], versions: set[int]) -> Iterator[str]:
    """Files of the archive that count at this moment; the manifest is not one of them."""
    current = {file for number, file in home.versions().items() if number in versions}
    for name in home.folder.names():
        place, _, rest = name.partition("/")
        lineage, _, file = rest.partition("/")
        if name in current or (place == "lineages" and (lineage, run_of(file)) not in unended):
            yield name


def _responses(state: State, dataset: Dataset, unended: Set[tuple[str, int]]) -> Iterator[str]:
    for name in state.responses.folder(dataset.uid).names():
        lineage, _, file = name.partition("/")
        if (lineage, state.responses.run_of(file)) not in unended:
            yield name


def _results(state: State, dataset: Dataset, jobs: list[Fields]) -> Iterator[str]:
    done = {fields["id"] for fields in jobs if fields["state"] == JobState.SUCCEEDED.value}
    for name in state.results.folder(dataset.uid).names():
        if name.partition("/")[0] in done:
            yield name


def _home(dataset: Dataset) -> str:
    return f"datasets/{dataset.name}-{dataset.uid}"


def _copy(state: State, writer: BackupWriter, moment: Moment) -> None:
    dataset, home = moment.dataset, _home(moment.dataset)
    samples = state.samples.scan(dataset, moment.version, SCHEMA.names)
    _copy_table(writer, f"{home}/samples.parquet", SCHEMA, samples)
    if moment.reviews is not None:
        reviews = state.reviews.scan(dataset, moment.reviews)
        _copy_table(writer, f"{home}/reviews.parquet", review_log.SCHEMA, reviews)
    for name, version in moment.events.items():
        if version:
            table = state.events.tables[name]
            schema = table.schema.with_metadata(table.metadata(dataset))
            _copy_table(writer, f"{home}/{name}.parquet", schema, table.scan(dataset, version))
    for place, source, names in (
        ("archive", state.archive.of_dataset(dataset).folder, moment.files),
        ("responses", state.responses.folder(dataset.uid), moment.responses),
        ("results", state.results.folder(dataset.uid), moment.results),
    ):
        for name in names:
            with writer.writing(f"{home}/{place}/{name}") as stream, source.open(name) as content:
                while chunk := content.read(CHUNK):
                    stream.write(chunk)
    writer.write(f"{home}/archive/{MANIFEST}", moment.manifest)


def _copy_table(
    writer: BackupWriter, name: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]
) -> None:
    with writer.writing(name) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as rows:
        for batch in batches:
            rows.write_batch(batch.cast(schema) if batch.schema != schema else batch)
