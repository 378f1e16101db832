"""Goes through the dashboard in a real Chromium, on the demo's reviews, and takes the pictures of the docs.

make pictures        or: python -m demo.tour [--pictures DIR]     (needs Chromium; about ten minutes)

From a file through splits, a score job, the map and a hundred verdicts to a comparison; the verdicts are what
the stars say, which the service is never told. It ends with 1 if a page complains.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

from demo.run import REVIEWS
from demo.scenario import LABELS, Row, read_reviews
from demo.service import running_service
from demo.slips import is_slip

PICTURES = Path(__file__).parents[1] / "docs" / "figures"
DATASET = "shop-reviews"
SIZE: ViewportSize = {"width": 1280, "height": 860}
VERDICTS = 100
COLOURS = 128
PATIENCE_MS, JOB_MS = 30_000, 1_800_000
SMALL = {"max_length": "64", "learning_rate": "0.0001", "model_config": '{"num_hidden_layers": 2}'}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=Path, default=PICTURES, metavar="DIR")
    pictures: Path = parser.parse_args().pictures
    browser_path = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    complaints: list[str] = []
    with running_service() as service, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_context(viewport=SIZE, locale="en-GB").new_page()
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(service.address)
        _Tour(page, pictures).whole()
        browser.close()
    print("\n".join(complaints) or "No page complained.")
    return 1 if complaints else 0


class _Tour:
    def __init__(self, page: Page, pictures: Path) -> None:
        self.page, self.pictures = page, pictures
        self.rows: Mapping[str, Row] = {row["id"]: row for row in read_reviews(REVIEWS)}

    def whole(self) -> None:
        self._upload()
        self._job("split", by="stratified", validation="0.1", test="0.2")
        self._job("score", **SMALL, keep_model="true", picture="job")
        self._look()
        self._review()
        self._job("score", **SMALL, update="true")
        self._job("compare", **(SMALL | {"learning_rate": "0.0003"}), subsets="core", num_train_epochs="2")
        self._compare()
        self._small_and_dark()

    def _upload(self) -> None:
        page = self.page
        page.get_by_role("button", name="New dataset").click()
        page.get_by_label("Name").fill(DATASET)
        page.get_by_role("button", name="Create").click()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "reviews.csv"
            with file.open("w", encoding="utf-8", newline="") as opened:
                table = csv.writer(opened)
                table.writerow(("review_id", "review", "recommended"))
                for row in self.rows.values():
                    table.writerow((row["id"], row["text"], LABELS[row["recommended"]]))
            page.locator("input[type=file]").set_input_files(file)
            expect(page.get_by_role("combobox", name="text", exact=True)).to_have_value("review")
            page.get_by_role("combobox", name="id", exact=True).select_option("review_id")
            page.get_by_role("combobox", name="label", exact=True).select_option("recommended")
            self._picture("add")
            page.get_by_role("button", name="Send reviews.csv").click()
            expect(page.get_by_text("2,500 new, 0 changed, 0 unchanged, 0 rejected.")).to_be_visible()
        self._told("2,500 reviews sent")

    def _job(self, kind: str, *, picture: str = "", **params: str) -> None:
        """Fills in the form, starts the job and waits for its end."""
        page = self.page
        page.get_by_role("link", name="Start a job").first.click()
        page.get_by_role("tab", name=kind, exact=True).click()
        page.locator("summary", has_text="All parameters").click()
        for name, value in params.items():
            named = page.locator("span", has_text=re.compile(f"^{name}$"))
            field = page.locator("label.field", has=named).locator("input, select")
            if field.evaluate("field => field.tagName") == "SELECT":
                field.select_option(value)
            else:
                field.fill(value)
        page.locator("summary", has_text="All parameters").click()
        if kind != "split":
            expect(page.get_by_text("Estimated time")).to_be_visible()
        if picture:
            self._picture("start")
        page.get_by_role("button", name="Start", exact=True).click()
        state = page.locator(".title .state")
        if picture:
            expect(page.locator(".live strong")).to_have_text(
                re.compile(r"^[7-9]\d(\.\d)?%$"), timeout=JOB_MS
            )
            self._picture(picture)
        expect(state).not_to_have_text(re.compile("waiting|running"), timeout=JOB_MS)
        expect(state).to_have_text("done")
        self._told(f"{kind} done: {page.locator('.title .quiet').inner_text()}")
        page.get_by_role("link", name=DATASET).click()

    def _look(self) -> None:
        """Ten samples worth a look, one of them from near, and the map."""
        page = self.page
        worth = page.locator("section", has_text="Most worth a look").locator("li")
        expect(worth).to_have_count(10)
        self._picture("overview")
        worth.first.get_by_role("link").click()
        expect(page.get_by_role("heading", name="Why it is where it is")).to_be_visible()
        self._picture("sample")
        page.get_by_role("link", name="Map", exact=True).click()
        canvas = page.locator("canvas")
        expect(canvas).to_have_attribute("aria-label", re.compile("core: "))
        box = canvas.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 0.04 * box["width"], box["y"] + 0.55 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.95 * box["height"], steps=12)
        page.mouse.up()
        expect(page.locator(".samples li").first).to_be_visible()
        self._picture("map")

    def _review(self) -> None:
        """One key for each: what the stars say of the label."""
        page = self.page
        page.get_by_role("link", name="Review", exact=True).click()
        heading = page.locator("section.card:has(.verdicts) h2")
        wrong = 0
        for done in range(VERDICTS):
            row = self.rows[heading.inner_text()]
            if done == 4:
                self._picture("review")
            page.keyboard.press("w" if is_slip(row) else "r")
            wrong += is_slip(row)
            expect(page.get_by_text(f"{(done % 50) + 1} reviewed")).to_be_visible()
            if done % 50 == 49:
                page.get_by_role("button", name="Show more").click()
                expect(page.get_by_text("0 reviewed", exact=True)).to_be_visible()
        self._told(f"{VERDICTS} verdicts, {wrong} of them wrong")

    def _compare(self) -> None:
        page = self.page
        page.get_by_role("link", name="Compare", exact=True).click()
        expect(page.locator("figure.curve")).to_be_visible()
        expect(page.locator(".matrix")).to_be_visible()
        page.set_viewport_size({"width": 1280, "height": 1400})
        self._picture("compare")
        page.set_viewport_size(SIZE)

    def _small_and_dark(self) -> None:
        page = self.page
        page.emulate_media(color_scheme="dark")
        page.get_by_role("link", name="Overview", exact=True).click()
        expect(page.locator("section", has_text="Most worth a look").locator("li")).to_have_count(10)
        self._picture("dark")
        page.set_viewport_size({"width": 390, "height": 844})
        page.get_by_role("link", name="Review", exact=True).click()
        expect(page.get_by_text("0 reviewed")).to_be_visible()
        self._picture("phone")
        page.get_by_role("button", name="中文").click()
        expect(page.locator("html")).to_have_attribute("lang", "zh")
        page.wait_for_load_state("networkidle")
        self._picture("chinese")

    def _picture(self, name: str) -> None:
        self.page.wait_for_load_state("networkidle" if name != "job" else "load")
        taken = Image.open(io.BytesIO(self.page.screenshot()))
        flat = taken.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        flat.save(self.pictures / f"dashboard-{name}.png", optimize=True)

    @staticmethod
    def _told(text: str) -> None:
        print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
