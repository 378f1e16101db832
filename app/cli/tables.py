"""Tables for people in a terminal, tab-separated values for programs behind a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    if not sys.stdout.isatty():
        for row in (header, *rows):
            print("\t".join(_one_line(cell) for cell in row))
        return
    if not rows:
        print(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(_one_line(cell)) for cell in row))
    Console().print(table)


def _one_line(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return "" if cell is None else " ".join(str(cell).split())
