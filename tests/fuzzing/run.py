"""One run of schemathesis against a started service, and what it came to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzzing.service import Fuzzed

CONFIG = Path(__file__).with_name("schemathesis.toml")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """requests: by (phase, operation, status)."""

    code: int
    output: str
    requests: Counter[tuple[str, str, int]]


def fuzz(service: Fuzzed, folder: Path, *, key: str | None, seed: int, options: list[str]) -> Outcome:
    """Options are those of `st run`."""
    document, counts = folder / "openapi.json", folder / "counts.json"
    document.write_text(json.dumps(_document(service.url, key)), encoding="utf-8")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", str(document)]
    command += ["--url", service.url, "--seed", str(seed), "--generation-database", "none", "--no-color"]
    command += [] if key is None else ["--header", f"Authorization: Bearer {key}"]
    given = {"FUZZ_JOB": service.job, "FUZZ_COUNTS": str(counts), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [*command, *options],
        env={**os.environ, **given},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    counted = json.loads(counts.read_text()) if counts.exists() else {}
    return Outcome(ran.returncode, ran.stdout + ran.stderr, Counter(dict(_read(counted))))


def _read(counted: dict[str, int]) -> Iterator[tuple[tuple[str, str, int], int]]:
    for name, count in counted.items():
        phase, operation, status = name.split("\t")
        yield (phase, operation, int(status)), count


def _document(url: str, key: str | None) -> dict[str, Any]:
    """As it is served; a service without keys asks for none, so that nothing can be missing."""
    with urllib.request.urlopen(f"{url}/openapi.json") as answer:
        document: dict[str, Any] = json.load(answer)
    if key is None:
        for methods in document["paths"].values():
            for operation in methods.values():
                operation.pop("security", None)
    return document
