"""No page breaks a rule of WCAG 2.1 AA that axe-core can look for (names, roles, contrast), day and night."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.e2e.service import Service
from tests.web.asking import open_page, scored

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "resultTypes": ["violations"]}
TABS = ("", "/map", "/samples", "/review", "/compare", "/start/score", "/start/split", "/add", "/s/s00")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_can_be_read_by_everyone(service: Service, browser: Browser, scheme: str) -> None:
    job = scored(service, "readable")
    context = browser.new_context(color_scheme=scheme, locale="en-GB")  # type: ignore[arg-type]
    page = context.new_page()
    found = {}
    for place in ("", "jobs", f"jobs/{job}", *(f"d/readable{tab}" for tab in TABS)):
        open_page(service, page, place)
        page.reload()
        expect(page.locator("main").locator("h1, h2").first).to_be_visible()
        page.wait_for_load_state("networkidle")
        if broken := _broken(page):
            found[place] = broken
    context.close()
    assert found == {}


def test_what_cannot_be_read_is_noticed(service: Service, page: Page) -> None:
    scored(service, "readable")
    open_page(service, page, "d/readable/samples")
    page.wait_for_load_state("networkidle")
    page.evaluate("document.documentElement.style.setProperty('--quiet', '#d0d0d0')")
    assert any("color-contrast" in one for one in _broken(page))


def _broken(page: Page) -> list[str]:
    """The rules that the page breaks, each with the first element that does."""
    answer = Axe().run(page, options=RULES).response
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in answer["violations"]]
