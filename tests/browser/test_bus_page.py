"""The page of a bus that nobody trades on: it moves, explains, redrives, halts with a reason and is rearmed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PHONE, Shown, opened

# In their order, and by themselves: each goes on where the one before left the page.
pytestmark = [pytest.mark.browser, pytest.mark.timed]


@pytest.fixture(scope="module")
def shown() -> Iterator[Shown]:
    shown = Shown("shown_bus.py")
    yield shown
    assert shown.end() == 0


@pytest.fixture(scope="module")
def page(browser: Browser, shown: Shown) -> Iterator[Page]:
    with opened(browser, shown.url) as page:
        yield page


def panel(name: str) -> str:
    return f'[data-panel="{name}"]'


def test_numbers_move_and_events_come(page: Page) -> None:
    expect(page.locator(".headline")).not_to_have_text(re.compile("^[\u20130]$"))
    rows = page.locator(panel("events")).get_by_role("option")
    expect(rows.first).to_contain_text("parcel.weighed")
    expect(page.locator(panel("subscriptions"))).to_contain_text("scales")
    rows.first.click()
    expect(page.locator(f"{panel('why')} .step.is-chosen")).to_contain_text("parcel.weighed")


def test_dead_letter_is_redriven(page: Page) -> None:
    letter = page.locator(f"{panel('letters')} .letter")
    expect(letter).to_contain_text("the warehouse is closed")
    letter.get_by_role("button", name=re.compile("^Redrive")).click()
    expect(page.locator(panel("letters"))).to_contain_text("no dead letters")


def test_halt_and_rearm(page: Page) -> None:
    page.keyboard.press("h")
    form = page.get_by_role("dialog", name="Halt this bus?")
    form.get_by_label("Reason").fill("drill")
    form.get_by_role("button", name="Halt").click()
    expect(page.locator(panel("halt-state"))).to_have_text("halted: drill")
    page.locator(panel("halt")).click()
    form = page.get_by_role("dialog", name="Rearm this bus?")
    form.get_by_label("Reason").fill("over")
    form.get_by_role("button", name="Rearm").click()
    expect(page.locator(panel("halt-state"))).to_have_text("")


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_everything_has_a_name_and_can_be_read(browser: Browser, shown: Shown, theme: str) -> None:
    with opened(browser, shown.url, size=PHONE, theme=theme) as page:
        expect(page.locator("[data-link-text]")).to_have_text("live")
        found = Axe().run(page, options={"resultTypes": ["violations"]})
        assert [(one["id"], node["target"]) for one in found.response["violations"] for node in one["nodes"]] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
