"""The map of a million samples in a real browser: how soon it is drawn, how smoothly it is brushed.

    python benchmarks/dashboard.py --samples 1000000

Service, Redis and browser share the cores of this machine; the browser draws without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
from api_servers import started
from api_state import NAME, sample_id, score
from playwright.sync_api import Page, sync_playwright

from app.settings import Settings
from app.store.embedded import EmbeddedRedis
from app.store.state import open_state

ROUNDS = 5
ROWS_A_REQUEST = 100_000
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
FRAMES = """() => {
  window.frames_ = [];
  let before = performance.now();
  const tick = (now) => { window.frames_.push(now - before); before = now; requestAnimationFrame(tick); };
  requestAnimationFrame(tick);
}"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=1_000_000)
    samples = parser.parse_args().samples
    cores = set(range(os.cpu_count() or 1))
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(Path(folder) / "redis") as redis:
        environment = {"GRADSIFT_REDIS_URL": redis.url, "GRADSIFT_DATA_URL": f"{folder}/data"}
        with started(["-m", "app.cli", "serve"], cores, environment) as server:
            address = f"http://127.0.0.1:{server.port}"
            send(address, samples)
            state = open_state(Settings(redis_url=redis.url, data_url=f"{folder}/data"))
            score(state, state.datasets.get(NAME), samples, generation=0)
            state.close()
            measure(address, samples)


def send(address: str, samples: int) -> None:
    with httpx.Client(base_url=address, timeout=600) as http:
        http.put(f"/v1/datasets/{NAME}", json={"task": "classification"}).raise_for_status()
        headers = {"Content-Type": "application/x-ndjson"}
        for start in range(0, samples, ROWS_A_REQUEST):
            rows = lines(range(start, min(samples, start + ROWS_A_REQUEST)))
            url = f"/v1/datasets/{NAME}/samples"
            http.post(url, content=b"".join(rows), headers=headers).raise_for_status()


def lines(numbers: range) -> Iterator[bytes]:
    for number in numbers:
        row = {"id": sample_id(number), "text": f"text number {number}", "label": number % 4}
        yield json.dumps(row).encode() + b"\n"


def measure(address: str, samples: int) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        drawn, frames = [], []
        for number in range(ROUNDS):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            began = time.perf_counter()
            page.goto(f"{address}/#/d/{NAME}/map")
            page.wait_for_selector(f"canvas[data-drawn='{samples}']", timeout=60_000)
            drawn.append(time.perf_counter() - began)
            frames += brushed(page)
            if number == 0:
                print(f"first, the service draws it too: {drawn[0]:.2f} s")
            page.close()
        browser.close()
    print(
        f"page opened to map drawn, {samples:,} samples: median {statistics.median(drawn):.2f} s "
        f"({min(drawn):.2f} to {max(drawn):.2f})"
    )
    p50, p95, p99 = np.percentile(frames, [50, 95, 99])
    print(f"frames while brushing: {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms, of {len(frames)}")


def brushed(page: Page) -> list[float]:
    box = page.locator("canvas").bounding_box()
    assert box is not None
    page.wait_for_timeout(500)
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.evaluate(FRAMES)
    for step in range(60):
        page.mouse.move(box["x"] + 60 + 10 * step, box["y"] + 60 + 5 * step)
    found: list[float] = page.evaluate("window.frames_")
    page.mouse.up()
    return found[1:]


if __name__ == "__main__":
    main()
