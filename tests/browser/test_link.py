"""The page and its server: a token asked for in a form, another log after a restart, a tab that nobody looks at."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from eventbus.gateway.tokens import create_token
from eventbus.testing.servers.found import free_port
from tests.browser.conftest import PATIENCE_MS, Shown

pytestmark = [pytest.mark.browser, pytest.mark.timed]

expect.set_options(timeout=PATIENCE_MS)


def link(page: Page) -> Any:
    return page.locator("[data-link-text]").first


def test_the_token_is_asked_for_once_and_the_socket_is_shown_a_ticket(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    _, token = create_token(file, "desk", ("read:*", "admin"), datetime.now(UTC), None)
    shown = Shown("shown_bus.py", "0", str(file))
    context = browser.new_context()
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url + (request.post_data or "")))
        page.on(
            "websocket",
            lambda socket: socket.on("framesent", lambda frame: sent.append(str(frame))),
        )
        page.goto(shown.url)
        form = page.get_by_role("dialog", name="This gateway asks for a token")
        form.get_by_label("Token").fill("guess")
        form.get_by_role("button", name="Connect").click()
        expect(form.get_by_role("alert")).to_contain_text("not, or no longer, valid")
        form.get_by_label("Token").fill(token)
        form.get_by_role("button", name="Connect").click()
        expect(form).not_to_be_attached()
        expect(link(page)).to_have_text("live")
        expect(page.locator('[data-panel="events"]').get_by_role("option").first).to_contain_text("parcel.weighed")
        assert any('"auth"' in one for one in sent)
        assert any(one.partition("{")[0].endswith("/api/v1/ticket") for one in sent)
        assert not any(token in one for one in sent), "neither in an address, nor in a body, nor on the socket"
        kept = page.evaluate("JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie])")
        assert token not in kept
    finally:
        context.close()
        assert shown.end() == 0


def test_another_log_after_a_restart_is_told_and_gone_on_with(browser: Browser) -> None:
    port = free_port()
    first = Shown("shown_bus.py", str(port))
    context = browser.new_context()
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(first.url)
        rows = page.locator('[data-panel="events"]').get_by_role("option")
        expect(rows.first).to_contain_text("parcel.weighed")
        old = rows.first.get_attribute("data-event")
        first.process.kill()
        first.end()
        expect(link(page)).to_contain_text("reconnecting")
        second = Shown("shown_bus.py", str(port))
        try:
            expect(page.get_by_text("Some events are no longer there")).to_be_visible()
            expect(link(page)).to_have_text("live")
            expect(rows.first).to_contain_text("parcel.weighed")
            assert page.locator(f'[data-event="{old}"]').count() == 0, "of the log before nothing is left"
        finally:
            assert second.end() == 0
    finally:
        context.close()


def test_a_hidden_tab_lets_its_socket_go_and_takes_it_up_again(browser: Browser) -> None:
    shown = Shown("shown_bus.py")
    context = browser.new_context()
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.clock.install()
        page.goto(shown.url)
        expect(link(page)).to_have_text("live")
        page.evaluate(HIDE, True)
        for _ in range(10):  # five seconds each, in which the server is heard: silence would be no link
            page.clock.fast_forward(5_000)
            expect(link(page)).to_have_text("live")
        assert clients(shown) == 1
        page.clock.fast_forward(9_900)
        expect(link(page)).to_have_text("asleep")
        end = time.monotonic() + PATIENCE_MS / 1_000
        while clients(shown):  # the page knows it first
            assert time.monotonic() < end
        page.evaluate(HIDE, False)
        expect(link(page)).to_have_text("live")
        assert clients(shown) == 1
    finally:
        context.close()
        assert shown.end() == 0


HIDE = """(isHidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def clients(shown: Shown) -> int:
    """How many clients the gateway has."""
    found = httpx.get(f"{shown.url}/api/v1/stats", trust_env=False, timeout=60).json()
    return int(found["clients"])
