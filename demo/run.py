"""Starts GradSift, scores 2,500 real reviews over HTTP, prints what came out, and stops everything.

make demo            or: python -m demo.run
make demo SERVE=1    or: python -m demo.run --serve   (leaves it running until Ctrl-C)
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import TimeoutExpired
from types import FrameType
from typing import NoReturn

import httpx
from rich.console import Console

from demo.report import follow, print_results
from demo.scenario import (
    DATASET,
    RequestFailed,
    Row,
    all_placed,
    job_events,
    read_reviews,
    send_samples,
    start_job,
)
from demo.service import Service, ServiceFailed, running_service

REVIEWS = Path(__file__).with_name("reviews.csv.gz")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--serve", action="store_true", help="leave the service running until Ctrl-C")
    serve = parser.parse_args().serve
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    try:
        _demo(console, serve=serve)
    except KeyboardInterrupt:
        console.print("Interrupted; everything is stopped.")
        return 130
    except (ServiceFailed, RequestFailed, httpx.HTTPError, TimeoutExpired) as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return 1
    return 0


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _demo(console: Console, *, serve: bool) -> None:
    rows = read_reviews(REVIEWS)
    console.print("Starting GradSift: an embedded Valkey, a worker, a predictor and the API")
    with running_service() as service, httpx.Client(base_url=service.address, timeout=60.0) as client:
        console.print(f"Ready at {service.address}")
        _score(console, client, rows)
        where = f"{service.address}/v1/datasets/{DATASET}"
        if serve:
            console.print(f"Look further: curl '{where}/sets/core?limit=5'")
            console.print(f"Or open [bold]{service.address}[/bold] in a browser")
            _serve_until_interrupted(console, service)
        else:
            console.print("Look further: `make demo SERVE=1` leaves it running and prints where to ask.")
    console.print("Everything is stopped and the temporary directory is gone.")


def _score(console: Console, client: httpx.Client, rows: Sequence[Row]) -> None:
    send_samples(client, rows)
    console.print(f"Sent {len(rows):,} clothing reviews, each with its label (recommended or not)")
    job_id = start_job(client)
    console.print(f"Job {job_id}: fine-tunes two layers of MiniLM for three epochs and scores on the way")

    began = time.monotonic()
    follow(console, job_events(client, job_id))
    console.print(f"The job succeeded in {time.monotonic() - began:.0f} s")
    print_results(console, rows, all_placed(client))


def _serve_until_interrupted(console: Console, service: Service) -> None:
    console.print(f"Running at {service.address} until Ctrl-C; its log: {service.log}")
    try:
        while True:
            service.check_alive()
            time.sleep(0.5)
    except KeyboardInterrupt:
        console.print("Stopping")


if __name__ == "__main__":
    sys.exit(main())
