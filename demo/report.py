"""What the demo prints: progress on the way, tables at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo.scenario import LABELS, SETS, Placed
from demo.slips import is_slip

SHOWN = 10
LINE_SECONDS = 10.0
POLL_SECONDS = 0.3
TEXT_CHARACTERS = 60


def follow(console: Console, read_job: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Shows a job's progress until it has succeeded, and returns it: a bar in a terminal, else lines."""
    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    said = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("queued", total=1.0, note="")
        while True:
            job = read_job()
            progress = job["progress"]
            note = _note(progress)
            bar.update(task, description=progress["phase"], completed=progress["fraction"], note=note)
            if job["state"] == "succeeded":
                bar.update(task, description="done", completed=1.0, note="")
                return job
            if not console.is_terminal and time.monotonic() - said >= LINE_SECONDS:
                said = time.monotonic()
                console.print(f"  {progress['phase']}: {progress['fraction']:.0%}  {note}")
            time.sleep(POLL_SECONDS)


def _note(progress: Mapping[str, Any]) -> str:
    rate, eta = progress["samples_per_second"], progress["eta_seconds"]
    parts = [
        f"step {progress['step']}/{progress['total_steps']}" if progress["total_steps"] else "",
        f"{rate:.0f} samples/s" if rate else "",
        f"{eta:.0f} s left" if eta is not None else "",
    ]
    return "  ".join(filter(None, parts))


def print_results(console: Console, rows: Sequence[Mapping[str, str]], placed: Sequence[Placed]) -> None:
    by_id = {row["id"]: row for row in rows}
    console.print(_extremes(f"The {SHOWN} most important samples", placed[:SHOWN], by_id))
    console.print(_extremes(f"The {SHOWN} least important samples", placed[: -SHOWN - 1 : -1], by_id))
    console.print(_sets(placed, by_id))
    console.print(
        "A label slip is a review whose stars contradict its label; the stars were never sent. This version\n"
        "sorts by importance alone (policy seed). A wrong label pulls hard on the model, so most slips rank\n"
        "high and land in the core: look at the top of the core before training on it.",
        highlight=False,
    )


def _extremes(title: str, samples: Sequence[Placed], by_id: Mapping[str, Mapping[str, str]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", expand=False)
    table.add_column("id", justify="right")
    table.add_column("importance", justify="right")
    table.add_column("label", no_wrap=True)
    table.add_column("slip")
    table.add_column("text", no_wrap=True, overflow="ellipsis")
    for sample in samples:
        row = by_id[sample.id]
        slip = "yes" if is_slip(row) else ""
        text = row["text"][:TEXT_CHARACTERS]
        table.add_row(sample.id, f"{sample.importance:.4f}", LABELS[row["recommended"]], slip, text)
    return table


def _sets(placed: Sequence[Placed], by_id: Mapping[str, Mapping[str, str]]) -> Table:
    slips = [sample for sample in placed if is_slip(by_id[sample.id])]
    base = len(slips) / len(placed)
    table = Table(
        title=f"Sets, and where the {len(slips)} known label slips are (base rate {base:.1%})",
        title_justify="left",
        title_style="bold",
    )
    for name in ("set", "samples", "slips", "slip rate", "of all slips"):
        table.add_column(name, justify="left" if name == "set" else "right")
    for name in SETS:
        size = sum(sample.set == name for sample in placed)
        found = sum(sample.set == name for sample in slips)
        rate = f"{found / size:.1%}" if size else "-"
        share = f"{found / len(slips):.0%}" if slips else "-"
        table.add_row(name, f"{size:,}", str(found), rate, share)
    return table
