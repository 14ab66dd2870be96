"""What the page costs who looks at it: the processor time of its thread beside a lively demo, and memory that does not grow."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, CDPSession, Page, expect

from tests.browser.conftest import PATIENCE_MS, opened

# What a core is, depends on what else runs on it: a measurement of a quiet machine, made by `make torture`.
pytestmark = [pytest.mark.browser, pytest.mark.torture]

SHARE = 0.30  # of a core
GROWTH_MIB = 8.0
TEN_MINUTES_S = 600
QT = [sys.executable, "-c", "from quantum_trader.cli import main; main()"]


@contextmanager
def demo(folder: Path, profile: str, speed: float, port: int = 0) -> Iterator[str]:
    """The address of the dashboard of a demo that goes on."""
    command = [*QT, "demo", "--profile", profile, "--speed", str(speed), "--output", str(folder)]
    command += ["--web", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        assert running.stdout is not None
        try:
            yield next(line.split()[-1] for line in running.stdout if line.startswith("dashboard at "))
        finally:
            running.send_signal(signal.SIGKILL)


def figures(session: CDPSession) -> dict[str, float]:
    """What Chromium knows of the page, after its garbage was collected. Durations are processor time of its main thread."""
    session.send("HeapProfiler.collectGarbage")
    found: dict[str, Any] = session.send("Performance.getMetrics")
    return {one["name"]: one["value"] for one in found["metrics"]}


@pytest.mark.parametrize(
    ("profile", "speed", "seconds", "listed"),
    [
        ("fast", 60.0, 5, 20),  # 755 sessions
        ("demo", 17.0, 150, 100),  # 3,270
    ],
)
def test_a_lively_demo_takes_a_page_less_than_a_third_of_a_core_and_no_more_memory(
    browser: Browser, tmp_path: Path, profile: str, speed: float, seconds: int, listed: int
) -> None:
    with demo(tmp_path / "run", profile, speed) as url, opened(browser, url) as page:
        expect(page.locator("[data-link-text]").first).to_have_text("live", timeout=PATIENCE_MS)
        session = page.context.new_cdp_session(page)
        session.send("HeapProfiler.enable")
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        rows = page.locator('[data-panel="events"] [role=option]')
        expect(rows.nth(listed)).to_be_attached(timeout=10 * PATIENCE_MS)
        before = figures(session)
        page.wait_for_timeout(1_000 * seconds)
        check(before, figures(session))


def test_ten_minutes_of_demos_at_full_speed_take_no_more(browser: Browser, tmp_path: Path) -> None:
    """One demo after the other, thirteen years each, in the same place: the page takes up each by itself."""
    context = browser.new_context()
    page = context.new_page()
    runs, port, before, session = 0, 0, dict[str, float](), context.new_cdp_session(page)
    session.send("HeapProfiler.enable")
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    while not before or figures(session)["Timestamp"] < before["Timestamp"] + TEN_MINUTES_S:
        with demo(tmp_path / str(runs), "demo", 0, port) as url:
            if not runs:
                port = urlsplit(url).port or 0
                page.goto(url)
            wait_for(page, "running")
            if runs == 1:  # the first is what the page begins with
                before = figures(session)
            wait_for(page, "over")
            runs += 1
    print(f"{runs - 1} demos")
    check(before, figures(session))
    context.close()


def wait_for(page: Page, stage: str) -> None:
    """Until the run that the page shows is there."""
    page.locator(f':root[data-run="{stage}"]').wait_for(state="attached", timeout=20 * PATIENCE_MS)


def check(before: dict[str, float], after: dict[str, float]) -> None:
    """What the page took meanwhile was little, and what it holds is what it held."""
    passed = after["Timestamp"] - before["Timestamp"]
    share = (after["TaskDuration"] - before["TaskDuration"]) / passed
    growth = (after["JSHeapUsedSize"] - before["JSHeapUsedSize"]) / 2**20
    nodes = after["Nodes"] - before["Nodes"]
    print(f"{share:.1%} of a core, {growth:+.2f} MiB, {nodes:+.0f} nodes in {passed:.0f} s")
    assert share < SHARE
    assert growth < GROWTH_MIB
    assert nodes < 8_000, "it keeps 500 events, and no more"
