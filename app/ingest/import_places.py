"""Where import jobs may read: below `<data dir>/imports`, and what GRADSIFT_IMPORT_URLS lists.

A client names the place, the service reads it with its own rights. So a path counts as what it is once links
and `..` are resolved, and a URL counts only below a listed one, character by character.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from app.errors import Forbidden
from app.settings import Settings
from app.store.locations import is_url

FOLDER = "imports"
WEB = ("http", "https")
_MAGIC = frozenset("*?[")


class LocalPlace(NamedTuple):
    """`base`: a folder or file, resolved; `pattern` below it, empty where there is none."""

    base: Path
    pattern: str


class RemotePlace(NamedTuple):
    url: str


def import_place(url: str, settings: Settings) -> LocalPlace | RemotePlace:
    """What a client's url means here.

    Raises:
        Forbidden: `import_not_allowed`.
    """
    path = _local_path(url)
    if path is None:
        refuse_remote(url, settings)
        return RemotePlace(url)
    folder = imports_folder(settings)
    if not path.startswith("/") and folder is None:
        raise _refused(url, "a path below <data dir>/imports needs a data directory")
    whole = Path(path) if folder is None else folder / path
    fixed, pattern = _split_pattern(whole)
    try:
        base = fixed.resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a NUL
        raise _refused(url, "it is no path") from error
    refuse_local(base, url, settings)
    if ".." in Path(pattern).parts:
        raise _refused(url, "`..` behind a pattern")
    return LocalPlace(base, pattern)


def refuse_local(resolved: Path, url: str, settings: Settings) -> None:
    """Raises Forbidden for a path, links resolved, that lies in no folder that is allowed."""
    if not any(resolved.is_relative_to(folder) for folder in _allowed_folders(settings)):
        raise _refused(url, "it lies in no folder that is allowed")


def refuse_remote(url: str, settings: Settings) -> None:
    """Raises Forbidden for a URL that is below none of the listed ones."""
    scheme, host, path = _parts(url)
    if "::" in url or "\\" in path or "%" in path or not url.isprintable():
        raise _refused(url, "it is more than a plain URL")
    if any(part in (".", "..") for part in path.split("/")):
        raise _refused(url, "its path goes up")
    for listed in settings.import_urls:
        if _local_path(listed) is not None:
            continue
        *place, below = _parts(listed)
        below = below.rstrip("/")
        if [scheme, host] == place and (path == below or path.startswith(f"{below}/")):
            return
    raise _refused(url, "GRADSIFT_IMPORT_URLS lists no URL that it is below")


def _parts(url: str) -> tuple[str, str, str]:
    """Scheme, host or bucket, and path, decoded once: one that is encoded twice still has a `%` in it."""
    scheme, _, rest = url.partition("://")
    if scheme in WEB:
        rest = re.split("[?#]", rest, maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    return scheme, host, slash + unquote(path)


def imports_folder(settings: Settings) -> Path | None:
    """None where the data lies in an object store."""
    return None if is_url(settings.data_url) else Path(settings.data_url).absolute() / FOLDER


def _allowed_folders(settings: Settings) -> list[Path]:
    own = imports_folder(settings)
    listed = [path for path in map(_local_path, settings.import_urls) if path is not None]
    folders = [Path(path) for path in listed if path.startswith("/")] + ([own] if own is not None else [])
    return [folder.resolve() for folder in folders]


def _local_path(url: str) -> str | None:
    """None for a URL of somewhere else."""
    if url.lower().startswith("file:"):
        rest = url[len("file:") :]
        path = rest.removeprefix("//localhost").removeprefix("//") if rest.startswith("//") else rest
        return unquote(path) if path.startswith("/") else None
    return None if "://" in url or "::" in url else url


def _split_pattern(path: Path) -> tuple[Path, str]:
    """`/a/b/*.csv` → `/a/b` and `*.csv`."""
    parts = path.parts
    first = next((at for at, part in enumerate(parts) if _MAGIC & set(part)), len(parts))
    return Path(*parts[:first]), "/".join(parts[first:])


def _refused(url: str, why: str) -> Forbidden:
    return Forbidden("import_not_allowed", f"{url!r} may not be imported: {why}")
