"""The dashboard where keys are on: it asks for one, and offers what the key opens."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import new_service
from tests.keys import bearer
from tests.test_cli import cli
from tests.web.asking import address, open_page

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
OWNER = "the-key-of-the-owner"


def test_a_page_asks_for_a_key_and_offers_what_it_opens(
    tmp_path: Path, tiny_folder: Path, page: Page
) -> None:
    page.context.set_default_timeout(10_000)
    service = new_service(tmp_path, tiny_folder)
    service.environment = {"GRADSIFT_API_KEYS": OWNER}
    service.start()
    try:
        service.http.headers.update(bearer(OWNER))
        service.create(
            "shop", [{"id": "a", "text": "a text", "label": 1}, {"id": "b", "text": "other", "label": 0}]
        )
        code, made, errors = cli(
            "keys", "create", "reader", "--scope", "read", "--data-dir", str(service.data_dir)
        )
        assert code == 0, errors
        open_page(service, page)
        expect(page.get_by_role("heading", name="This service wants an API key")).to_be_visible()
        page.get_by_role("textbox", name="API key").fill("not-a-key")
        page.get_by_role("button", name="Use this key").click()
        expect(page.get_by_role("heading", name="This service wants an API key")).to_be_visible()
        page.get_by_role("textbox", name="API key").fill(OWNER)
        page.get_by_role("button", name="Use this key").click()
        expect(page.get_by_role("link", name="shop")).to_be_visible()
        expect(page.get_by_role("button", name="New dataset")).to_be_visible()
        page.get_by_role("button", name="Forget the key").click()
        page.get_by_role("textbox", name="API key").fill(made.strip())
        page.get_by_role("button", name="Use this key").click()
        expect(page.get_by_text("reader", exact=True)).to_be_visible()
        expect(page.get_by_role("button", name="New dataset")).to_have_count(0)
        page.goto(f"{address(service)}/#/d/shop/samples")
        expect(page.get_by_text("a text")).to_be_visible()
        expect(page.get_by_role("link", name="Start a job")).to_have_count(0)
        assert page.evaluate("localStorage.length") == 0, "a key outlives its tab nowhere"
    finally:
        service.kill_everything()
        service.http.close()
