"""The files that are served are those that the sources make."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from app.web.pages import STATIC

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "web"


def test_the_built_files_are_of_these_sources() -> None:
    files = [SOURCES / "package-lock.json", *(SOURCES / "src").rglob("*.*")]
    digest = hashlib.sha256()
    for file in sorted(file.relative_to(SOURCES).as_posix() for file in files):
        digest.update(f"{file}\n".encode() + (SOURCES / file).read_bytes())
    built = (STATIC / "source.sha256").read_text(encoding="ascii").strip()
    assert built == digest.hexdigest(), "run `make web` and commit what it builds"


def test_every_language_has_every_word() -> None:
    """TypeScript holds it as well; here also that no translation drops a value."""
    words = {name: _words(name) for name in ("en", "zh")}
    assert words["en"].keys() == words["zh"].keys()
    for word, text in words["en"].items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", words["zh"][word])), word


def _words(language: str) -> dict[str, str]:
    text = (SOURCES / "src" / "words" / f"{language}.ts").read_text(encoding="utf-8")
    return dict(re.findall(r'^  (\w+): "(.*)",$', text, flags=re.MULTILINE))


def test_licences_of_what_is_built_in_are_told() -> None:
    told = (STATIC / "licences.txt").read_text(encoding="utf-8")
    assert "preact" in told
    assert "uplot" in told
    assert told.count("MIT") >= 2
