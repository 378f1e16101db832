"""Known vulnerabilities of pins, as PyPI's pages of whole projects list them: those of each newest version.

    python scripts/audit_newest.py constraints.txt

For mirrors that have no pages of single versions, which pip-audit asks for. A pin that is not the newest
version cannot be looked up like this: it is named, and the exit code is 2, as where nobody answers. 1: a
vulnerability was found.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PAGE = "https://pypi.org/pypi/{name}/json"
CONTROL = "pycrypto"
"""Abandoned, with known vulnerabilities in its last version: a source that lists none knows of none."""
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.M)


def newest(name: str) -> tuple[str, list[str]]:
    """Its version, and the ids of what is known against it. Raises OSError."""
    with urllib.request.urlopen(PAGE.format(name=name), timeout=60) as answer:
        page = json.load(answer)
    known = [one["id"] for one in page["vulnerabilities"] if not one.get("withdrawn")]
    return page["info"]["version"], known


def main() -> int:
    pins = PIN.findall(Path(sys.argv[1]).read_text())
    if not newest(CONTROL)[1]:
        print(f"this source knows nothing against {CONTROL}: it lists no vulnerabilities", file=sys.stderr)
        return 2
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(newest, [name for name, _ in pins]))
    holes, older = [], []
    for (name, pinned), (version, known) in zip(pins, found, strict=True):
        if pinned != version:
            older.append(f"{name} {pinned} (newest: {version})")
        elif known:
            holes.append(f"{name} {pinned}: {', '.join(known)}")
    print(f"{len(pins) - len(older)} of {len(pins)} pins are the newest version; vulnerable: {len(holes)}")
    for line in holes:
        print("vulnerable:", line)
    for line in older:
        print("not looked up:", line)
    return 1 if holes else 2 if older else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        print(f"could not ask: {error}", file=sys.stderr)
        sys.exit(2)
