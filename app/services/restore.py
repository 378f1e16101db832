"""Brings a backup back into an empty place: samples and archive, then Redis from them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from app.contracts.api_keys import ApiKey
from app.errors import Conflict
from app.services.backup_files import CHUNK, Catalogue, check_files, read_catalogue
from app.services.rebuild import Rebuilt, Report, rebuild
from app.store.archive import MANIFEST, Fields, check_meta
from app.store.artifacts import Folder
from app.store.inspection import Inspection
from app.store.state import State


def restore(state: State, source: str, report: Report) -> tuple[list[Rebuilt], int]:
    """Restores a backup; answers what was rebuilt, and how many jobs.

    Everything is checked before anything is written.

    Raises:
        Damaged: it is no whole backup, or a file of it was altered.
        Conflict: the target holds datasets, jobs or API keys already.
    """
    folder = Folder(source)
    catalogue = read_catalogue(folder)
    report("checking the backup", 0, len(catalogue.files))
    check_files(folder, catalogue)
    _require_empty(state)
    homes = sorted({name.split("/")[1] for name in catalogue.files if name.startswith("datasets/")})
    for done, home in enumerate(homes):
        report(f"{home}: copying", done, len(homes))
        _dataset(state, folder, catalogue, f"datasets/{home}")
    for name in catalogue.files:
        if name.startswith("keys/"):
            state.key_archive.save(ApiKey.model_validate_json(folder.read(name) or b""))
        if name.startswith("jobs/"):
            state.archive.put_job(msgspec.json.decode(folder.read(name) or b"", type=Fields))
    _audit(state, folder, catalogue, report)
    return rebuild(state, [], replace=False, report=report)


def _audit(state: State, folder: Folder, catalogue: Catalogue, report: Report) -> None:
    """One that is there already goes on: what was entered is not replaced, by whatever backup."""
    if state.audit.files.segments():
        report("the target has an audit log of its own, which stays", 0, 0)
        return
    for name in catalogue.files:
        if name.startswith("audit/"):
            state.audit.files.folder.write(name.removeprefix("audit/"), folder.read(name) or b"")


def _require_empty(state: State) -> None:
    inspection = Inspection(state.client, state.keys)
    held = (inspection.registry(), inspection.job_ids(), state.archive.datasets())
    if not any(held) and not state.api_keys.held() and not state.key_archive.any():
        return
    detail = "the target holds datasets, jobs or API keys already"
    remedy = "Restore into a new data directory, and with GRADSIFT_REDIS_URL into an empty Redis."
    raise Conflict("not_empty", detail, remedy=remedy)


def _dataset(state: State, folder: Folder, catalogue: Catalogue, home: str) -> None:
    """Samples, reviews, events, then the archive; the manifest last: without it there is no dataset."""
    manifest = folder.read(f"{home}/archive/{MANIFEST}") or b""
    dataset = check_meta(msgspec.json.decode(manifest, type=Fields))
    with folder.open(f"{home}/samples.parquet") as source:
        state.samples.restore(dataset, _batches(source))
    if f"{home}/reviews.parquet" in catalogue.files:
        with folder.open(f"{home}/reviews.parquet") as source:
            state.reviews.restore(dataset, _batches(source))
    for name, table in state.events.tables.items():
        if f"{home}/{name}.parquet" in catalogue.files:
            with folder.open(f"{home}/{name}.parquet") as source:
                table.restore(dataset, _batches(source), pq.read_schema(source))
    targets = {
        f"{home}/archive/": state.archive.of_dataset(dataset).folder,
        f"{home}/responses/": state.responses.folder(dataset.uid),
        f"{home}/results/": state.results.folder(dataset.uid),
    }
    for start, target in targets.items():
        for name in catalogue.files:
            if name.startswith(start) and name.removeprefix(start) != MANIFEST:
                with target.writing(name.removeprefix(start)) as stream, folder.open(name) as content:
                    while chunk := content.read(CHUNK):
                        stream.write(chunk)
    state.archive.of_dataset(dataset).folder.write(MANIFEST, manifest)


def _batches(source: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    yield from pq.ParquetFile(source).iter_batches(batch_size=8192)
