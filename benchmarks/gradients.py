"""What exact per-sample gradient norms cost on top of the plain training step.

    python benchmarks/gradients.py --quick
    python benchmarks/gradients.py --models bert-4x256 gpt2 --tokens 32 64 128 256 --json out.json

Every contender trains its own copy of the same model, one step each in turn, the order reversed every
round. Its ratio is the median over rounds of its time by the plain step's of the same round, so that a slow
moment of the machine falls on both. On a machine that others use take `--threads 1 --clock cpu`: what other
processes take is then not counted. Peak memory is that of a process of its own.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gradients_contenders import CONTENDERS, Step
from gradients_models import MODELS, make_batch, make_model

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.thread_time}
OURS = ("plain", "plain-row-skipping", "ours", "ours-with-dots")


@dataclass(frozen=True, slots=True)
class Row:
    """One contender on one shape; times in milliseconds, ratios to the plain step of the same round."""

    model: str
    tokens: int
    ragged: bool
    contender: str
    median_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    peak_mb: float | None = None


def measure(name: str, tokens: int, options: argparse.Namespace) -> list[Row]:
    """All contenders interleaved on one shape."""
    clock = CLOCKS[options.clock]
    base = make_model(name)
    batch, labels = make_batch(options.batch, tokens, ragged=options.ragged)
    steps: dict[str, Step] = {}
    for contender in options.contenders:
        try:
            step = CONTENDERS[contender](copy.deepcopy(base))
            step(batch, labels)
        except (ImportError, NotImplementedError, RuntimeError, ValueError, AttributeError) as error:
            print(f"  {contender} does not run on {name}: {str(error).splitlines()[0][:90]}")
        else:
            steps[contender] = step
    times: dict[str, list[float]] = {contender: [] for contender in steps}
    for turn in range(options.rounds):
        for contender in list(steps)[:: -1 if turn % 2 else 1]:
            began = clock()
            steps[contender](batch, labels)
            times[contender].append(clock() - began)
    rows = []
    for contender, seconds in times.items():
        ratios = sorted(one / plain for one, plain in zip(seconds, times["plain"], strict=True))
        low, high = ratios[len(ratios) // 4], ratios[(3 * len(ratios)) // 4]
        peak = peak_memory_mb(name, tokens, contender, options) if options.memory else None
        shape = (name, tokens, options.ragged, contender)
        median_ms = 1e3 * statistics.median(seconds)
        rows.append(Row(*shape, median_ms, statistics.median(ratios), low, high, peak))
    return rows


def peak_memory_mb(name: str, tokens: int, contender: str, options: argparse.Namespace) -> float:
    """Peak resident memory of a process that takes three steps of this contender alone."""
    arguments = ["--models", name, "--tokens", str(tokens), "--batch", str(options.batch)]
    arguments += ["--threads", str(options.threads), "--peak-of", contender]
    arguments += ["--ragged"] if options.ragged else []
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def report_own_peak(options: argparse.Namespace) -> None:
    step = CONTENDERS[options.peak_of](make_model(options.models[0]))
    batch, labels = make_batch(options.batch, options.tokens[0], ragged=options.ragged)
    for _ in range(3):
        step(batch, labels)
    print(_own_peak_kb() / 1024)


def _own_peak_kb() -> int:
    """Of this program alone: ru_maxrss would carry over the peak of the process that started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise NotImplementedError("Peak memory is read from /proc, which this system does not have.")


def print_table(rows: list[Row]) -> None:
    print(f"{'model':<14}{'T':>5} {'contender':<22}{'ms':>9}{'ratio':>8}  {'quartiles':<14}{'peak MB':>8}")
    for row in rows:
        peak = "" if row.peak_mb is None else f"{row.peak_mb:8.0f}"
        spread = f"{row.ratio_low:.3f}-{row.ratio_high:.3f}"
        shape = f"{row.model:<14}{row.tokens:>4}{'r' if row.ragged else ' '} {row.contender:<22}"
        print(f"{shape}{row.median_ms:9.1f}{row.ratio:8.3f}  {spread:<14}{peak}", flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cost of exact per-sample gradient norms.")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["bert-4x256", "minilm-6x384"])
    parser.add_argument("--tokens", nargs="+", type=int, default=[32, 64, 128])
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for --threads 1")
    parser.add_argument("--ragged", action="store_true", help="lengths from a quarter of the longest up")
    parser.add_argument("--memory", action="store_true", help="measure peak memory too, a process each")
    parser.add_argument("--quick", action="store_true", help="smallest model, ours and plain only")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    parser.add_argument("--peak-of", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.clock == "cpu" and options.threads != 1:
        parser.error("--clock cpu counts one thread only: add --threads 1")
    if options.quick:
        options.models, options.tokens, options.rounds = ["bert-4x256"], [32, 64], 7
        options.contenders = list(OURS)
    if "plain" not in options.contenders:
        options.contenders.insert(0, "plain")
    return options


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    if options.peak_of:
        report_own_peak(options)
        return
    machine = (
        f"{os.cpu_count()} cores, {options.threads} threads, {options.clock} time, torch {torch.__version__}"
    )
    print(f"{machine}, batch {options.batch}, median of {options.rounds} rounds")
    rows: list[Row] = []
    for name in options.models:
        for tokens in options.tokens:
            found = measure(name, tokens, options)
            print_table(found)
            rows += found
            gc.collect()
    if options.json:
        document = {"machine": machine, "batch": options.batch, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
