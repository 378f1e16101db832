"""How far a submit has come: a small file, so that the same command goes on after the last answered batch."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from app.cli.outcome import note
from app.cli.writing import destination
from app.errors import GradSiftError

KEPT_SECONDS = 30 * 24 * 3600
PROBLEMS_KEPT = 5


@dataclass
class Sent:
    """What became of the rows of a file so far: the first `rows` of it."""

    rows: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    problems: list[tuple[int, str]] = field(default_factory=list)
    """The first rejected rows: number and why."""

    def reject(self, number: int, why: str) -> None:
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append((number, why))


class SubmitState:
    """The file of one submit; `of` is all that makes it another one. Where the directory cannot be written,
    the submit goes on without."""

    def __init__(self, of: dict[str, Any]) -> None:
        digest = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()
        self.path = _directory() / f"{digest[:32]}.json"
        self._kept = True

    def load(self) -> Sent:
        """Nothing, where the file is gone or is none that this version wrote."""
        try:
            found = json.loads(self.path.read_bytes())
            sent = Sent(**found)
            sent.problems = [(int(number), str(why)) for number, why in sent.problems]
        except (OSError, ValueError, TypeError):
            return Sent()
        return sent

    def save(self, sent: Sent) -> None:
        if not self._kept:
            return
        content = json.dumps(asdict(sent)).encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with destination(self.path) as file:
                file.write(content)
        except (OSError, GradSiftError) as error:
            self._kept = False
            note(f"an interrupted submit will begin anew: {self.path.parent} cannot be written ({error})")

    def remove(self) -> None:
        """And those that nobody came back for."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
            for other in self.path.parent.glob("*.json"):
                if time.time() - other.stat().st_mtime > KEPT_SECONDS:
                    other.unlink(missing_ok=True)


def _directory() -> Path:
    given = os.environ.get("GRADSIFT_STATE_DIR")
    if given:
        return Path(given) / "submit"
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path("~/.local/state").expanduser()) / "gradsift" / "submit"
