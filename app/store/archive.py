"""What Redis can be rebuilt from, beside the samples: files under `<data url>/archive`.

datasets/<name>-<uid>/manifest.json                  the dataset's meta hash as of its last change
datasets/<name>-<uid>/lineages/<id>/lineage.json
datasets/<name>-<uid>/lineages/<id>/run-…            visits by epoch (`app.store.deltas`)
datasets/<name>-<uid>/sets/<version>-<token>-<crc>.parquet
jobs/<id>.json                                       the job's record as it was made, began and ended
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import cast

import msgspec
import redis

from app.contracts import Dataset, Lineage, SetVersion
from app.errors import Damaged, NotFound, Unavailable
from app.store.artifacts import Folder
from app.store.datasets import dataset_of
from app.store.deletions import DeletionNotes
from app.store.deltas import LineageDeltas, damaged
from app.store.keys import Keys
from app.store.locations import join_location
from app.store.set_files import (
    StoredVersion,
    newest_files,
    pack_version,
    unpack_version,
    version_file,
    version_number,
)
from app.store.sets import Placement

MANIFEST = "manifest.json"
Fields = dict[str, str]
"""A Redis hash whose fields are text."""


class DatasetArchive:
    """The files of one dataset."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def meta(self) -> Fields | None:
        """The meta hash; None where there is no manifest. Raises Damaged."""
        content = self.folder.read(MANIFEST)
        return None if content is None else _fields(self.folder, MANIFEST, content)

    # -- lineages --------------------------------------------------------------------------------------
    def save_lineage(self, lineage: Lineage) -> None:
        _write(self.folder, f"lineages/{lineage.id}/lineage.json", lineage.model_dump_json().encode())

    def lineages(self) -> dict[str, str]:
        """Lineage id → its JSON, as it stands in Redis."""
        return {
            name.split("/")[1]: (self.folder.read(name) or b"").decode()
            for name in self.folder.names()
            if name.startswith("lineages/") and name.endswith("/lineage.json")
        }

    def deltas(self, lineage_id: str) -> LineageDeltas:
        return LineageDeltas(Folder(join_location(self.folder.location, "lineages", lineage_id)))

    # -- deletions -------------------------------------------------------------------------------------
    def deletions(self) -> DeletionNotes:
        return DeletionNotes(self.folder)

    # -- set versions ----------------------------------------------------------------------------------
    def save_version(self, description: SetVersion, placement: Placement, *, token: int) -> None:
        """To be called before the version is published."""
        content = pack_version(StoredVersion(description.model_dump_json(), placement))
        _write(self.folder, version_file(description.version, token, content), content)

    def versions(self) -> dict[int, str]:
        """Set version → the name of its file."""
        return newest_files(self.folder.names())

    def version(self, name: str) -> StoredVersion:
        """Raises Damaged."""
        try:
            return unpack_version(self.folder.read_checked(name))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise damaged(self.folder, name, error) from error

    def keep_versions(self, numbers: set[int]) -> None:
        for name in self.folder.names():
            number = version_number(name)
            if number is not None and number not in numbers:
                self.folder.remove(name)


class Archive:
    def __init__(self, client: redis.Redis, keys: Keys, data_url: str) -> None:
        self._client = client
        self._keys = keys
        self._datasets = join_location(data_url, "archive", "datasets")
        self._jobs = Folder(join_location(data_url, "archive", "jobs"))

    def of(self, name: str, uid: str) -> DatasetArchive:
        return DatasetArchive(Folder(join_location(self._datasets, f"{name}-{uid}")))

    def of_dataset(self, dataset: Dataset) -> DatasetArchive:
        return self.of(dataset.name, dataset.uid)

    def datasets(self) -> list[DatasetArchive]:
        """Every dataset that has a manifest."""
        names = Folder(self._datasets).names()
        homes = [name.partition("/")[0] for name in names if name.count("/") == 1 and name.endswith(MANIFEST)]
        return [DatasetArchive(Folder(join_location(self._datasets, home))) for home in homes]

    def save_manifest(self, dataset: Dataset) -> None:
        """Writes what the meta hash holds now. The caller holds the dataset's write lock.

        Raises:
            NotFound: the dataset was deleted.
        """
        raw = cast("dict[bytes, bytes]", self._client.hgetall(self._keys.dataset(dataset.uid).meta))
        if not raw:
            raise NotFound("unknown_dataset", "the dataset was deleted meanwhile")
        fields = {name.decode(): value.decode() for name, value in raw.items()}
        content = json.dumps(fields, sort_keys=True, indent=1).encode()
        _write(self.of_dataset(dataset).folder, MANIFEST, content)

    def drop(self, name: str, uid: str) -> None:
        self.of(name, uid).folder.remove_all()

    # -- jobs ------------------------------------------------------------------------------------------
    def save_job(self, job_id: str) -> None:
        fields = self.job_record(job_id)
        if fields is not None:
            self.put_job(fields)

    def job_record(self, job_id: str) -> Fields | None:
        """The record as it stands in Redis."""
        raw = cast("dict[bytes, bytes]", self._client.hgetall(self._keys.jobs.record(job_id)))
        return {name.decode(): value.decode() for name, value in raw.items()} or None

    def put_job(self, fields: Fields) -> None:
        _write(self._jobs, f"{fields['id']}.json", json.dumps(fields, sort_keys=True, indent=1).encode())

    def jobs(self) -> Iterator[Fields]:
        """Every job's record, oldest first. Raises Damaged."""
        for name in self._jobs.names():
            yield _fields(self._jobs, name, self._jobs.read(name) or b"")


def check_meta(meta: Fields) -> Dataset:
    """The dataset that a meta hash describes. Raises Damaged."""
    try:
        return dataset_of(meta)
    except (ValueError, KeyError) as error:
        raise Damaged("damaged_file", f"a manifest describes no dataset: {error}") from error


def _fields(folder: Folder, name: str, content: bytes) -> Fields:
    try:
        return msgspec.json.decode(content, type=Fields)
    except msgspec.DecodeError as error:
        raise damaged(folder, name, error) from error


def _write(folder: Folder, name: str, content: bytes) -> None:
    try:
        folder.write(name, content)
    except OSError as error:
        raise Unavailable("service_unavailable", f"the archive cannot be written: {error}") from error
