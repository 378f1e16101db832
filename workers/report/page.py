"""One self-contained page: no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Table:
    """head: names of the columns. rows: their cells, as they are to be shown. numbers: columns of figures.
    texts: columns that may hold words longer than the page is wide."""

    head: Sequence[str]
    rows: Sequence[Sequence[object]]
    numbers: frozenset[int] = frozenset()
    texts: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Section:
    """plot: SVG text. alt: what it shows, for those who cannot see it."""

    title: str
    text: str = ""
    points: Sequence[str] = ()
    plot: str = ""
    alt: str = ""
    tables: Sequence[Table] = field(default_factory=tuple)


def page(title: str, facts: Mapping[str, object], sections: Sequence[Section]) -> str:
    """HTML. Texts of samples are shown as text, whatever they contain."""
    shown: list[dict[str, Any]] = [{**vars(section), "plot": Markup(section.plot)} for section in sections]
    return _template().render(title=title, facts=facts, sections=shown)


@cache
def _template() -> Template:
    loader = FileSystemLoader(_HERE)
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("page.html")
