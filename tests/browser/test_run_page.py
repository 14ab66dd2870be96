"""The dashboard of a run, in a real browser, against a run that goes on meanwhile: seen, steered, halted, and to its end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from eventbus import Event
from quantum_trader.app import load_feed
from quantum_trader.cli import run as qt
from quantum_trader.events import (
    AcknowledgeRequestedEvent,
    KillSwitchRequestedEvent,
    SessionDecideEvent,
)
from quantum_trader.runs.durable import DurableRun
from quantum_trader.runs.folder import RunFolder
from quantum_trader.runs.history import events, is_command
from quantum_trader.runs.history import opened as journal
from tests.browser.conftest import PATIENCE_MS, PHONE, WIDE, Shown, opened
from tests.browser.shown_run import CHART, short

# In their order, and by themselves: each goes on where the one before left the page.
pytestmark = [pytest.mark.browser, pytest.mark.timed]

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shown") / "run"


@pytest.fixture(scope="module")
def shown(folder: Path) -> Iterator[Shown]:
    """One run for all tests of this module, which follow it from its beginning to its end."""
    shown = Shown("shown_run.py", str(folder), "5")
    yield shown
    assert shown.end() == 0


@pytest.fixture(scope="module")
def page(browser: Browser, shown: Shown) -> Iterator[Page]:
    with opened(browser, shown.url) as page:
        yield page


def panel(page: Page, name: str) -> Locator:
    return page.locator(f'[data-panel="{name}"]')


def session(page: Page) -> int:
    found = re.search(r"session ([\d,]+)", panel(page, "session").inner_text())
    return int(found[1].replace(",", "")) if found else -1


def set_speed(page: Page, step: int) -> None:
    panel(page, "speed").fill(str(step))


def test_numbers_move(page: Page) -> None:
    expect(page.locator("[data-link-text]")).to_have_text("live")
    expect(panel(page, "session")).to_contain_text("session")
    date, published = panel(page, "date").inner_text(), panel(page, "throughput").inner_text()
    expect(panel(page, "date")).not_to_have_text(date)
    expect(panel(page, "throughput")).not_to_have_text(published)
    expect(panel(page, "equity").locator("canvas")).to_have_count(2)
    assert panel(page, "topology").locator("path.link").count() == 0, "out of sight it costs nothing"
    panel(page, "topology").scroll_into_view_if_needed()
    expect(panel(page, "topology").locator("path.link").first).to_be_attached()
    expect(panel(page, "subscriptions").locator("tbody tr").first).to_be_attached()
    expect(panel(page, "strategies")).to_contain_text("live")


def test_speed_is_set_at_once(page: Page, shown: Shown) -> None:
    set_speed(page, 4)
    expect(panel(page, "speed-text")).to_have_text("20/s")
    expect(panel(page, "fills").locator("tr.goes").nth(3)).to_be_attached()


def test_pause_holds_the_run(page: Page) -> None:
    page.keyboard.press(" ")
    expect(panel(page, "session")).to_contain_text("paused")
    expect(page.locator(".headline")).to_have_text("0")
    held = session(page)
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    set_speed(page, 1)
    expect(panel(page, "speed-text")).to_have_text("paused")
    assert session(page) == held


def test_clicked_fill_shows_why_it_happened(page: Page) -> None:
    panel(page, "fills").locator("tr.goes").first.click()
    steps = panel(page, "why").locator(".step")
    expect(panel(page, "why").locator(".step.is-chosen")).to_contain_text("trade.executed")
    expect(steps.first).to_contain_text("market.bar")
    types = steps.locator(".step-type").all_inner_texts()
    assert types.index("signals.generated") < types.index("orders.sized") < types.index("order.approved")
    assert types.index("order.approved") < types.index("trade.executed")


def test_click_on_the_curve_tells_what_was_decided_in_that_session(page: Page) -> None:
    curve = panel(page, "equity").locator(".plot.is-equity")
    box = curve.bounding_box()
    assert box is not None
    curve.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    chosen = panel(page, "why").locator(".step.is-chosen")
    expect(chosen).to_contain_text("session.decide")
    first = chosen.get_attribute("data-event")
    curve.press("ArrowRight")
    expect(panel(page, "why").locator(f'.step.is-chosen:not([data-event="{first}"])')).to_contain_text("session.decide")
    page.keyboard.press("Escape")


def test_filter_and_arrows_walk_the_events(page: Page) -> None:
    page.keyboard.press("/")
    expect(panel(page, "filter")).to_be_focused()
    page.keyboard.type("order.*")
    rows = panel(page, "events").get_by_role("option")
    expect(rows.first).to_contain_text("order.")
    assert all(text.startswith("order.") for text in rows.locator(".event-type").all_inner_texts())
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowDown")
    expect(panel(page, "events").locator("[aria-selected=true]")).to_have_count(1)
    panel(page, "filter").fill("")


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_everything_has_a_name_and_can_be_read(
    browser: Browser, shown: Shown, size: dict[str, int], theme: str
) -> None:
    with opened(browser, shown.url, size=size, theme=theme) as page:
        expect(panel(page, "session")).to_contain_text("session")
        expect(page.get_by_role("button", name="HALT")).to_be_in_viewport()
        found = Axe().run(page, options={"resultTypes": ["violations"]})
        told = [
            (one["id"], node["target"], node.get("failureSummary", "")[:200])
            for one in found.response["violations"]
            for node in one["nodes"]
        ]
        assert told == []


def test_phone_is_no_wider_than_it_is(browser: Browser, shown: Shown) -> None:
    with opened(browser, shown.url, size=PHONE) as page:
        for tab in page.locator("[data-page-tabs] [role=tab]").all():
            tab.click()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_violation_is_acknowledged_on_its_chart(page: Page) -> None:
    panel(page, "charts").locator(f'[data-chart="{CHART}"]').click()
    dialog = page.get_by_role("dialog", name=f"Control chart {CHART}")
    first = dialog.locator(".violation.is-open").first
    violation = first.get_attribute("data-violation")
    first.get_by_role("button").click()
    form = page.get_by_role("dialog", name="Acknowledge this violation?")
    form.get_by_label("Who").fill("ada")
    form.get_by_label("Reason").fill("a split, seen")
    form.get_by_role("button", name="Acknowledge").click()
    expect(form).not_to_be_attached()
    page.evaluate("document.querySelector('[data-panel=pause]').click()")
    expect(dialog.locator(f'[data-violation="{violation}"]')).to_contain_text("seen by ada: a split, seen")
    dialog.get_by_role("button", name="Close").click()


def test_halt_asks_for_a_reason_and_shows_who_and_when(page: Page) -> None:
    page.keyboard.press("h")
    form = page.get_by_role("dialog", name="Stop trading?")
    form.get_by_role("button", name="Stop trading").click()
    expect(form).to_be_visible()  # it is not done without a reason
    form.get_by_label("Reason").fill("drill")
    form.get_by_role("button", name="Stop trading").click()
    expect(panel(page, "switch")).to_have_text(re.compile(r"HALT since \d{4}-\d\d-\d\d by dashboard"))
    expect(panel(page, "switch")).to_have_attribute("title", "drill (latched)")
    expect(panel(page, "halt")).to_have_text("Release")
    panel(page, "halt").click()
    form = page.get_by_role("dialog", name="Release the kill switch?")
    form.get_by_label("Reason").fill("drill is over")
    form.get_by_role("button", name="Release").click()
    expect(panel(page, "switch")).to_be_hidden()
    expect(panel(page, "halt")).to_have_text("HALT")


def test_what_is_old_is_greyed_and_says_how_old(page: Page, shown: Shown) -> None:
    shown.stop()
    try:
        expect(page.locator("[data-link-text]")).to_have_text(re.compile(r"reconnecting, \d+ s old"))
        assert page.evaluate("getComputedStyle(document.querySelector('.card-body')).filter") != "none"
    finally:
        shown.go_on()
    expect(page.locator("[data-link-text]")).to_have_text("live")


def test_run_that_is_over_says_so_and_takes_no_commands(page: Page) -> None:
    set_speed(page, 8)
    expect(panel(page, "session")).to_contain_text("over")
    expect(panel(page, "halt")).to_be_disabled()
    assert panel(page, "halt").get_attribute("title") == "The run is over."


def test_dead_letter_is_redriven(page: Page) -> None:
    letter = panel(page, "letters").locator(".letter")
    expect(letter).to_contain_text("the archive did not answer in 2 s")
    letter.get_by_role("button", name=re.compile("^Redrive")).click()
    expect(panel(page, "letters")).to_contain_text("no dead letters")


def test_the_same_commands_by_qt_give_the_same_digest(shown: Shown, folder: Path, tmp_path: Path) -> None:
    digest = shown.line()
    commands: dict[int, list[Event]] = {}
    session = -1
    with journal(RunFolder(folder)) as reader:
        for event in events(reader):
            if isinstance(event, SessionDecideEvent):
                session = event.session
            elif is_command(event):
                commands.setdefault(session, []).append(event)
    assert [type(event) for given in commands.values() for event in given] == [
        AcknowledgeRequestedEvent,
        KillSwitchRequestedEvent,
        KillSwitchRequestedEvent,
    ]
    again = RunFolder(tmp_path / "again")
    again.begin(short())

    async def carried_on(until: int | None) -> str | None:
        async with DurableRun(again, short(), load_feed(short())) as run:
            completed = await run.run(until_session=until)
            return None if completed is None else completed.digest

    with ThreadPoolExecutor() as pool:  # the loop of the browser runs in this thread
        for decided, given in commands.items():
            assert pool.submit(asyncio.run, carried_on(decided)).result() is None
            for command in given:
                assert qt([*spelled(command), "--run", str(again.path)]) == 0
        assert pool.submit(asyncio.run, carried_on(None)).result() == digest


def spelled(command: Event) -> list[str]:
    """How a command is given to `qt`."""
    if isinstance(command, AcknowledgeRequestedEvent):
        return ["ack", str(command.violation_id), "--user", command.user, "--reason", command.reason]
    assert isinstance(command, KillSwitchRequestedEvent)
    mode = command.mode.value.lower().replace("_", "-")
    return ["kill", mode, "--user", command.actor, "--reason", command.reason]
