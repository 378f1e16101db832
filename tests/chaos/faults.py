"""Faults planted into a copy of the service's source: the storm must find each of them.

Each is a plain edit of a file; one that finds nothing to change fails, so no refactoring disarms it unseen.

The fence alone is not among them: without it the ledger still refuses a worker that was replaced, because its
run or step lies behind. Only without both does its write come through.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Edit(NamedTuple):
    file: str
    old: str
    new: str


FAULTS: dict[str, tuple[Edit, ...]] = {
    # Whoever writes last wins: no fence and no ledger is compared.
    "unguarded-write": (
        Edit("app/store/lua/shard_write.lua", "return 'stale'", "local _ = 'stale'"),
        Edit("app/store/lua/shard_write.lua", "return 'ahead'", "local _ = 'ahead'"),
    ),
    # What a step adds is added to what the server holds, as increments would be: a replay adds it again.
    "increments": (
        Edit(
            "workers/score/groundwork.py",
            "if records is None:",
            "records = self.state.scores.read_all(dataset.uid, lineage.id, ordinals)\n        if False:",
        ),
    ),
    # What a job notes as it begins may be lost with the server's tail, and nobody notes it again.
    "forgotten-lineage": (
        Edit("workers/score/groundwork.py", "self.state.durably(write)", "write()"),
        Edit("workers/score/groundwork.py", "keep_lineage(self.state, ", "print("),
    ),
    # The second shard of a dataset is never written, and nobody looks whether it was.
    "lost-shard": (
        Edit(
            "app/store/scores.py", "numbers = sorted(shards)", "numbers = sorted(n for n in shards if n != 1)"
        ),
        Edit(
            "workers/score/book.py",
            "missing = {number for number in self._touched if held.get(number) != final}",
            "missing = set()",
        ),
    ),
}


def faulty_source(fault: str, into: Path) -> Path:
    """A copy of the packages with the fault in it; to be put before everything on the path of the parts."""
    for package in ("app", "workers", "models"):
        shutil.copytree(ROOT / package, into / package, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in FAULTS[fault]:
        path = into / edit.file
        text = path.read_text(encoding="utf-8")
        if edit.old not in text:
            raise AssertionError(f"the fault {fault} finds no {edit.old!r} in {edit.file}")
        path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")
    return into
