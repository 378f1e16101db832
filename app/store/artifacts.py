"""Files of jobs under GRADSIFT_DATA_URL: checkpoints and reports."""

from __future__ import annotations

import uuid

from pyarrow import fs

from app.store.locations import filesystem, is_url, join_location, remove_tree


class ArtifactStore:
    """Whole files by name within a job; a file appears complete or not at all."""

    def __init__(self, data_url: str, job_id: str) -> None:
        self._location = join_location(data_url, "jobs", job_id)
        self._store, self._path = filesystem(self._location)
        self._in_place = is_url(data_url)  # object stores show an object only once it is complete

    def write(self, name: str, content: bytes | memoryview) -> None:
        self._store.create_dir(self._path, recursive=True)
        target = f"{self._path}/{name}"
        written = target if self._in_place else f"{target}.{uuid.uuid4().hex}.part"
        try:
            with self._store.open_output_stream(written) as stream:
                stream.write(content)
        except OSError:
            if written != target and self._store.get_file_info(written).type == fs.FileType.File:
                self._store.delete_file(written)  # half a file takes room where there is none
            raise
        if written != target:
            self._store.move(written, target)

    def read(self, name: str) -> bytes | None:
        path = f"{self._path}/{name}"
        if self._store.get_file_info(path).type != fs.FileType.File:
            return None
        with self._store.open_input_stream(path) as stream:
            return bytes(stream.read())

    def remove(self, name: str) -> None:
        path = f"{self._path}/{name}"
        if self._store.get_file_info(path).type == fs.FileType.File:
            self._store.delete_file(path)

    def remove_all(self) -> None:
        remove_tree(self._location)


def jobs_with_artifacts(data_url: str) -> list[str]:
    """Ids of the jobs that have any file."""
    store, path = filesystem(join_location(data_url, "jobs"))
    found = store.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return [info.base_name for info in found if info.type == fs.FileType.Directory]
