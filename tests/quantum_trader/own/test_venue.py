"""`qt paper --venue`: orders go to a venue of a user's own, each once, whatever dies in between; and nothing goes where it differs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal

Write = Callable[[str, str], Path]
START = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)

# A broker that keeps what it did in a file, fills at once, and tells everything again to whoever connects.
DESK = """
import asyncio
import json
import os
import signal
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from quantum_trader.api import Report, Strategy, Target

BOOK = Path("broker.jsonl")


class TwoTurns(Strategy):
    stop: float = 0.0

    def on_bar(self, bars, ctx):
        first = {"A": 3, "B": 6}[bars.symbol]
        if ctx.session == first:
            return Target(weight=0.3, stop=self.stop * bars.close[-1] or None, reason="in")
        return Target(weight=0.0, reason="out") if ctx.session == first + 12 else None


def die(where):
    if os.environ.get("DIES") == where and len(read()) == 2:
        os.kill(os.getpid(), signal.SIGKILL)


def read():
    return [json.loads(line) for line in BOOK.read_text().splitlines()] if BOOK.exists() else []


class FileBroker:
    def __init__(self):
        self._told = asyncio.Queue()
        for row in read():
            self._tell(row)

    async def submit(self, order):
        with Path("submitted").open("a") as file:
            file.write(order.client_id + "\\n")
        die("before")
        if order.client_id not in {row["id"] for row in read()}:
            row = {"id": order.client_id, "symbol": order.symbol, "qty": str(order.qty), "side": order.side.value}
            row |= {"price": str(round(order.reference, 2)), "at": datetime.now(UTC).isoformat()}
            with BOOK.open("a") as file:
                file.write(json.dumps(row) + "\\n")
            die("after")
            self._tell(row)

    async def cancel(self, client_id):
        pass

    async def open_orders(self):
        return []

    async def positions(self):
        held = {"X": Decimal(7)} if os.environ.get("STRANGER") else {}
        for row in read():
            units = Decimal(row["qty"]) * (1 if row["side"] == "BUY" else -1)
            held[row["symbol"]] = held.get(row["symbol"], Decimal(0)) + units
        return {symbol: units for symbol, units in held.items() if units}

    async def reports(self):
        while True:
            yield await self._told.get()

    def _tell(self, row):
        zero, at = Decimal(0), datetime.fromisoformat(row["at"])
        self._told.put_nowait(Report(row["id"], "ACCEPTED", zero, zero, zero, "", at))
        filled, price = Decimal(row["qty"]), Decimal(row["price"])
        self._told.put_nowait(Report(row["id"], "FILLED", filled, price, Decimal("0.5"), f"deal-{row['id']}", at))


def connect():
    return FileBroker()
"""
TRADE = ("paper", "desk.py", "--feed", "file:bars.ndjson@40", "--limits", "limits.toml", "--output", "r", "--json")
VENUE = ("--venue", "desk.py:connect", "--live")


@pytest.fixture
def desk(write: Write) -> None:
    write("desk.py", DESK)
    write("limits.toml", "max_order_notional = 0.5\nmax_symbol_weight = 0.5\nprice_collar = 0.5\n")
    rows = []
    for minute in range(40):
        for symbol in ("A", "B"):
            close = 100.0 + minute % 7
            values = {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 1e6}
            rows.append(json.dumps({"symbol": symbol, "ts": (START + timedelta(minutes=minute)).isoformat(), **values}))
    write("bars.ndjson", "\n".join(rows) + "\n")


def booked() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("broker.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("desk")
def test_orders_of_a_live_run_go_to_its_venue_and_its_fills_are_those_of_the_run(terminal: Terminal) -> None:
    report = terminal.json(*TRADE, *VENUE)
    rows = booked()
    assert [(row["symbol"], row["side"]) for row in rows] == [("A", "BUY"), ("B", "BUY"), ("A", "SELL"), ("B", "SELL")]
    assert Path("submitted").read_text().split() == [row["id"] for row in rows]
    assert report["fills"] == 4
    assert float(report["fees"]) == 2.0
    terminal.ok("export", "r", "--trades", "t.csv")
    fills = Path("t.csv").read_text()
    assert all(f"deal-{row['id']}" in fills for row in rows)
    assert "reason in" in terminal.ok("why", rows[0]["id"], "--run", "r")
    assert terminal.json("verify", "r", "--json")
    assert not list(Path("r/reports").glob("*.json")), "what the journal has is kept nowhere else"


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.usefixtures("desk")
def test_a_death_around_a_sending_neither_loses_nor_doubles_an_order(terminal: Terminal, where: str) -> None:
    command = [sys.executable, "-c", "from quantum_trader.cli import main; main()", *TRADE, *VENUE]
    environment = {**os.environ, "QT_APP__CHECKPOINT_EVERY": "10", "DIES": where}
    killed = subprocess.run(command, env=environment, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(booked()) == 2
    report = terminal.json("resume", "r", "--json")
    rows = booked()
    assert [(row["symbol"], row["side"]) for row in rows] == [("A", "BUY"), ("B", "BUY"), ("A", "SELL"), ("B", "SELL")]
    assert len({row["id"] for row in rows}) == report["fills"] == 4
    assert report["stops"] == []
    told = [line for line in terminal.ok("events", "r", "--type", "order.approved", "--json").splitlines() if line]
    assert len(told) == 4
    terminal.ok("verify", "r")


@pytest.mark.usefixtures("desk")
def test_a_venue_that_has_something_else_is_sent_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRANGER", "yes")
    assert terminal.qt(*TRADE, *VENUE, "--grace", "0.05") == 4
    assert "the run ended halted: venue: X: 0 here, 7 there; find out why" in terminal.err
    assert not Path("submitted").exists()


@pytest.mark.usefixtures("desk")
def test_a_stop_that_the_venue_does_not_hold_is_refused_and_not_forgotten(terminal: Terminal) -> None:
    report = terminal.json(*TRADE, *VENUE, "--set", "stop=0.9")
    assert report["fills"] == 0
    assert report["funnel"]["unfilled"] == {"STOP_NOT_HELD": 2}
    assert not Path("submitted").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--venue", "desk.py:connect"), "sends orders to it only with --live; say --live, and --limits FILE"),
        (("--venue", "desk.py:absent", "--live"), "there is no absent"),
    ],
)
@pytest.mark.usefixtures("desk")
def test_what_is_no_venue_or_not_meant_is_one_line(terminal: Terminal, more: tuple[str, ...], said: str) -> None:
    assert said in terminal.complaint(*TRADE, *more)
    assert not Path("r").exists()


@pytest.mark.usefixtures("desk")
def test_what_a_venue_lacks_is_one_line(terminal: Terminal) -> None:
    assert "what it gives has no submit" in terminal.complaint(*TRADE, "--venue", "desk.py:read", "--live")
