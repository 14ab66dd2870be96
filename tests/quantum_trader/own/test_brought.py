"""`--check` and `--with` beside the shipped strategies: they act, they are kept with the run, and the picture shows them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quantum_trader.cli import serving
from quantum_trader.cli.showing import Door
from quantum_trader.config import AppConfig
from quantum_trader.runs.folder import RunFolder

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal

Write = Callable[[str, str], Path]
HALF_A_YEAR = ("--profile", "fast", "--symbols", "AAPL,IBM", "--from", "2007-01-03", "--to", "2007-07-31")

MINE = """
from pathlib import Path

from eventbus import Event
from quantum_trader.api import Decision, Denial
from quantum_trader.events import TradeExecutedEvent


class DeskNotedEvent(Decision, Event, type="desk.noted"):
    symbol: str


class NotingDesk:
    publishes = (DeskNotedEvent,)

    def __init__(self, bus):
        self._bus = bus
        bus.subscribe(TradeExecutedEvent, self.on_trade, name="desk.trade")
        bus.subscribe(DeskNotedEvent, self.on_noted, name="desk.noted")

    async def on_trade(self, event):
        await self._bus.publish(DeskNotedEvent(symbol=event.symbol, timestamp=event.timestamp))

    async def on_noted(self, event):
        with Path("noted").open("a") as file:
            file.write(event.symbol + "\\n")

    def close(self):
        Path("closed").touch()


def build(bus, config):
    return NotingDesk(bus)


def no_apples(order, view):
    return Denial("NO_APPLES", f"equity {view.equity:.0f}") if order.symbol == "AAPL" else None


def nothing(order, view):
    raise ValueError("not today")
"""


_NUMBERS = count(1)  # a type of event is defined once in a process, and each test has a file of its own


@pytest.fixture
def noted(write: Write) -> str:
    """Writes mine.py; the type of its event."""
    name = f"desk.noted_{next(_NUMBERS)}"
    write("mine.py", MINE.replace("desk.noted", name))
    return name


def test_a_replay_asks_the_check_and_builds_the_component_and_goes_on_with_both(terminal: Terminal, noted: str) -> None:
    brought = ("--check", "mine.py:no_apples", "--with", "mine.py:build")
    terminal.ok("replay", *HALF_A_YEAR, *brought, "--output", "r", "--until-session", "70")
    assert RunFolder(Path("r")).config().own.checks == (f"{terminal.home}/mine.py:no_apples",)
    report = terminal.json("resume", "r", "--json")
    assert report["denials"]["NO_APPLES"] > 0
    assert report["fills"] > 0
    assert set(Path("noted").read_text().split()) == {"IBM"}
    assert len(terminal.ok("events", "r", "--type", noted, "--json").splitlines()) == report["fills"]
    terminal.ok("verify", "r")


def test_a_demo_takes_both(terminal: Terminal, noted: str) -> None:
    short = ("--symbols", "IBM", "--from", "2012-12-03", "--no-web", "--output", "r")
    terminal.ok("demo", *short, "--check", "mine.py:nothing", "--with", "mine.py:build")
    own = RunFolder(Path("r")).config().own
    assert [len(own.checks), len(own.components)] == [1, 1]
    assert Path("closed").exists()


@pytest.mark.parametrize("command", ["demo", "replay", "graph"])
@pytest.mark.parametrize("option", ["--check", "--with"])
def test_what_is_not_there_is_one_line_and_leaves_no_run(
    terminal: Terminal, noted: str, command: str, option: str
) -> None:
    assert "mine.py:absent: there is no absent; known are" in terminal.complaint(command, option, "mine.py:absent")
    assert not Path("runs").exists()


def test_the_graph_shows_what_is_brought(terminal: Terminal, noted: str) -> None:
    out = terminal.ok("graph", "--check", "mine.py:no_apples", "--with", "mine.py:build")
    assert f"NotingDesk\n  hears      {noted}, trade.executed\n  publishes  {noted} -> NotingDesk" in out
    assert "RiskGuard\n  asks besides its own  no_apples" in out
    assert "NotingDesk" not in terminal.ok("graph")


def test_a_run_that_is_served_is_looked_on_by_what_is_brought(
    terminal: Terminal, noted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = terminal.json("replay", *HALF_A_YEAR, "--json", "--output", "r")["digest"]
    fills = len(terminal.ok("events", "r", "--type", "trade.executed", "--json").splitlines())
    said: list[str] = []
    monkeypatch.setattr(serving, "say", said.append)
    folder = RunFolder(Path("r"))

    def noted_by_now() -> list[str]:
        return Path("noted").read_text().split() if Path("noted").exists() else []

    async def look() -> None:
        checks, components = ["mine.py:no_apples", "mine.py:nothing"], ["mine.py:build"]
        place = Door(port=0).at(AppConfig())
        served = asyncio.create_task(
            serving._serve(folder, place, lambda config: serving.looking_on(config, checks, components))
        )
        async with asyncio.timeout(120):
            while len(noted_by_now()) < fills or not any(line.startswith("serving") for line in said):  # noqa: ASYNC110 - files
                await asyncio.sleep(0.01)
        served.cancel()
        await asyncio.wait({served})

    asyncio.run(look())
    assert any(line.startswith("serving on http://127.0.0.1:") for line in said)
    apples = [line for line in said if line.startswith("no_apples would deny ")]
    assert apples
    assert all("NO_APPLES: equity " in line for line in apples)
    assert any("nothing would deny " in line and "CHECK_FAILED: ValueError: not today" in line for line in said)
    assert Path("closed").exists()
    assert terminal.json("report", "r", "--json")["digest"] == digest
    assert not terminal.ok("events", "r", "--type", noted, "--json"), "what is published here stays here"
