"""What the demo prints: progress on the way, tables at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo.scenario import LABELS, SETS, Placed
from demo.slips import is_slip

SHOWN = 10
LINE_SECONDS = 10.0
TEXT_CHARACTERS = 60


def follow(console: Console, events: Iterable[Mapping[str, Any]]) -> None:
    """Shows a job's progress until its events end: a bar in a terminal, else a line now and then."""
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
        for job in events:
            progress = job["progress"]
            note = _note(progress)
            bar.update(task, description=progress["phase"], completed=progress["fraction"], note=note)
            if not console.is_terminal and time.monotonic() - said >= LINE_SECONDS:
                said = time.monotonic()
                console.print(f"  {progress['phase']}: {progress['fraction']:.0%}  {note}")
        bar.update(task, description="done", completed=1.0, note="")


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
    console.print(f"\nThe {SHOWN} most important samples: hard, or mislabelled", style="bold")
    console.print(_samples(placed[:SHOWN], by_id))
    doubtful = sorted(placed, key=lambda sample: (-sample.noise_probability, -sample.importance, sample.id))
    console.print(f"\nThe {SHOWN} labels that are most probably wrong", style="bold")
    console.print(_samples(doubtful[:SHOWN], by_id))
    slips = [sample for sample in placed if is_slip(by_id[sample.id])]
    share = len(slips) / len(placed)
    console.print(f"\nThe sets, and where the {len(slips)} known label slips are", style="bold")
    console.print(_sets(placed, slips))
    first = sum(is_slip(by_id[sample.id]) for sample in doubtful[: len(slips)])
    console.print(
        f"A label slip is a review whose stars contradict its label: {share:.1%} of all. The stars were\n"
        f"never sent. Of the {len(slips)} labels that are most probably wrong, {first} are slips; by chance "
        f"{len(slips) * share:.0f} would be.\n"
        "Nothing is called noise that is not more probably wrong than right: verdicts on a hundred rows of\n"
        "the review queue would tell where that line runs.",
    )


def _samples(samples: Sequence[Placed], by_id: Mapping[str, Mapping[str, str]]) -> Table:
    table = Table()
    table.add_column("id", justify="right")
    table.add_column("importance", justify="right")
    table.add_column("wrong?", justify="right")
    table.add_column("label", no_wrap=True)
    table.add_column("slip")
    table.add_column("text", no_wrap=True, overflow="ellipsis")
    for sample in samples:
        row = by_id[sample.id]
        slip = "yes" if is_slip(row) else ""
        text = row["text"][:TEXT_CHARACTERS]
        table.add_row(
            sample.id,
            f"{sample.importance:.4f}",
            f"{sample.noise_probability:.1%}",
            LABELS[row["recommended"]],
            slip,
            text,
        )
    return table


def _sets(placed: Sequence[Placed], slips: Sequence[Placed]) -> Table:
    table = Table()
    for name in ("set", "samples", "slips", "slip rate", "of all slips"):
        table.add_column(name, justify="left" if name == "set" else "right")
    for name in SETS:
        size = sum(sample.set == name for sample in placed)
        found = sum(sample.set == name for sample in slips)
        rate = f"{found / size:.1%}" if size else "-"
        share = f"{found / len(slips):.0%}" if slips else "-"
        table.add_row(name, f"{size:,}", str(found), rate, share)
    return table
