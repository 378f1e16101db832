"""The files of an import: which there are, and their bytes, from a disk, the web or an object store."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast
from urllib.parse import urljoin

import fsspec
import httpx

from app.errors import JobFailed, Unavailable
from app.ingest.import_places import (
    WEB,
    LocalPlace,
    import_place,
    refuse_local,
    refuse_remote,
)
from app.settings import Settings
from workers.importing.web import WebStream

MAX_FILES = 10_000
REDIRECTS = 5
_MARKS = ("ETag", "etag", "generation", "version_id", "LastModified", "last_modified", "mtime", "updated")
_MAGIC = re.compile(r"[*?\[]")
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)


class SourceFile(NamedTuple):
    """`name`: as clients know it. `size`: None where nobody says. `mark`: another one once it has changed."""

    place: str
    name: str
    size: int | None
    mark: str


class PlaceAway(Unavailable):
    """What answers there may do so later."""


class Sources:
    """What one url stands for. Every method raises Forbidden (`import_not_allowed`), JobFailed
    (`import_not_found`, `import_unreadable`, `import_not_installed`) and PlaceAway."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._url = url
        self._settings = settings
        self._place = import_place(url, settings)
        self._http = httpx.Client(timeout=_TIMEOUT, headers={"Accept-Encoding": "identity"})

    def close(self) -> None:
        self._http.close()

    @property
    def several(self) -> bool:
        """Whether the url is a folder or a pattern, so that rows need the file's name to be told apart."""
        if isinstance(self._place, LocalPlace):
            return bool(self._place.pattern) or self._place.base.is_dir()
        return self._url.endswith("/") or self._has_pattern

    def files(self) -> list[SourceFile]:
        """In the order of their names; hidden ones and those that begin with `_` are none."""
        found = self._local() if isinstance(self._place, LocalPlace) else self._remote()
        if not found:
            raise JobFailed("import_not_found", f"there is no file at {self._url!r}")
        if len(found) > MAX_FILES:
            detail = f"{self._url!r} has {len(found)} files, an import reads up to {MAX_FILES}"
            raise JobFailed("import_unreadable", detail, remedy="Import the folders below it one by one.")
        return sorted(found, key=lambda file: file.place)

    @contextmanager
    def open(self, file: SourceFile) -> Iterator[IO[bytes]]:
        """A stream from the file's beginning; it can seek, but for the web's.

        Raises:
            JobFailed: `import_changed`, also at its end, where it is no longer the file that was found.
        """
        with _told(file.name), self._opened(file) as stream:
            yield stream
        if self._look(file).mark != file.mark:
            raise JobFailed("import_changed", f"{file.name} was changed while it was imported")

    # -- a disk ------------------------------------------------------------------------------------------
    def _local(self) -> list[SourceFile]:
        assert isinstance(self._place, LocalPlace)
        base, pattern = self._place
        with _told(self._url):
            if pattern:
                found = [path for path in base.glob(pattern) if path.is_file()]
            elif base.is_dir():
                found = [path for path in base.rglob("*") if path.is_file()]
            else:
                found = [base]
            shown = [path for path in found if path == base or not _hidden(path.relative_to(base).parts)]
            return [self._look_at(path, base) for path in shown]

    def _look_at(self, path: Path, base: Path | None = None) -> SourceFile:
        resolved = path.resolve()
        refuse_local(resolved, self._url, self._settings)
        status = resolved.stat()
        if not stat.S_ISREG(status.st_mode):
            raise JobFailed("import_not_found", f"{path.name} is no file")
        below = path.name if base is None or base == path else path.relative_to(base).as_posix()
        mark = f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"
        return SourceFile(str(path), below, status.st_size, mark)

    @contextmanager
    def _opened(self, file: SourceFile) -> Iterator[IO[bytes]]:
        found = self._look(file)
        if found.mark != file.mark:
            raise JobFailed("import_changed", f"{file.name} has changed since the import began")
        if isinstance(self._place, LocalPlace):
            path = Path(file.place).resolve()
            refuse_local(path, self._url, self._settings)
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as stream:
                yield stream
        elif self._on_the_web:
            with self._response(file.place) as response:
                yield cast("IO[bytes]", WebStream(response.iter_bytes(2**16)))
        else:
            with self._store().open(file.place, "rb") as stream:
                yield stream

    # -- elsewhere ---------------------------------------------------------------------------------------
    @property
    def _on_the_web(self) -> bool:
        return self._url.partition("://")[0] in WEB

    @property
    def _has_pattern(self) -> bool:
        return not self._on_the_web and re.search(_MAGIC, self._url) is not None

    def _remote(self) -> list[SourceFile]:
        if self._on_the_web:
            with _told(self._url):
                return [self._look_at_web(self._url)]
        with _told(self._url):
            store = self._store()
            url = self._url
            paths = store.glob(url) if self._has_pattern else store.find(url)
            base = str(store._strip_protocol(re.split(_MAGIC, url)[0].rpartition("/")[0] + "/")).rstrip("/")
            files = [self._look_at_stored(path) for path in paths if store.isfile(path)]
        named = [file._replace(name=file.place.removeprefix(base).strip("/") or file.name) for file in files]
        return [file for file in named if not _hidden(tuple(file.name.split("/")))]

    def _look(self, file: SourceFile) -> SourceFile:
        with _told(file.name):
            if isinstance(self._place, LocalPlace):
                return self._look_at(Path(file.place))
            return self._look_at_web(file.place) if self._on_the_web else self._look_at_stored(file.place)

    def _store(self) -> Any:
        try:
            return fsspec.core.url_to_fs(self._url)[0]
        except (ImportError, ValueError) as error:
            raise JobFailed("import_not_installed", f"{self._url!r} cannot be read here: {error}") from error

    def _look_at_stored(self, path: str) -> SourceFile:
        store = self._store()
        store.invalidate_cache()  # what it was a while ago does not count
        info = store.info(path)
        marks = [str(info[name]) for name in _MARKS if info.get(name) is not None]
        size = info.get("size")
        return SourceFile(path, path.rpartition("/")[2], size, "-".join([str(size), *marks]))

    def _look_at_web(self, url: str) -> SourceFile:
        with self._response(url) as response:
            length = response.headers.get("Content-Length", "")
            size = int(length) if length.isdigit() else None
            marks = [response.headers.get(name, "") for name in ("ETag", "Last-Modified")]
        name = url.partition("?")[0].rpartition("/")[2]
        return SourceFile(url, name or url, size, "-".join([str(size), *marks]))

    @contextmanager
    def _response(self, url: str) -> Iterator[httpx.Response]:
        """Follows the web where it leads, as long as that is a place that is allowed too."""
        for _ in range(REDIRECTS):
            with self._http.stream("GET", url) as response:
                if not response.has_redirect_location:
                    _refuse_status(url, response.status_code)
                    yield response
                    return
                url = urljoin(url, response.headers["Location"])
            refuse_remote(url, self._settings)
        raise JobFailed("import_unreadable", f"{self._url!r} leads from one place to another without end")


def _hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith((".", "_")) for part in parts)


def _refuse_status(url: str, status: int) -> None:
    if status in (404, 410):
        raise JobFailed("import_not_found", f"{url!r} answers {status}")
    if status == 429 or status >= 500:
        raise PlaceAway("service_unavailable", f"{url!r} answers {status}")
    if status != 200:
        raise JobFailed("import_unreadable", f"{url!r} answers {status}")


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What goes wrong with a file, in our words."""
    try:
        yield
    except FileNotFoundError as error:
        raise JobFailed("import_not_found", f"{name} is not there") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise JobFailed("import_unreadable", f"{name}: {error}") from error
    except httpx.HTTPError as error:
        raise PlaceAway("service_unavailable", f"{name}: {str(error) or type(error).__name__}") from error
    except (OSError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise JobFailed("import_unreadable", f"{name} cannot be read: {reason}") from error
