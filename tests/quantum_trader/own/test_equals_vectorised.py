"""The trades of a simple strategy are those of an independent computation over whole columns, trade by trade."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from eventbus import open_reader
from eventbus.codec import decode
from quantum_trader.market.dataset import load_dataset

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal

FEE = 0.001


def computed(window: int, depth: float, last: str) -> list[tuple[str, str, str, int, float]]:
    """Signals from whole columns (a cumulated sum), trades at the next open; nothing of the product but its bars."""
    columns = load_dataset(symbols=["AAPL", "IBM", "MSFT"]).by_symbol()
    bars = {symbol: [bar for bar in own if bar.ts.date().isoformat() <= last] for symbol, own in columns.items()}
    days = [bar.ts.date().isoformat() for bar in bars["IBM"]]
    wanted: dict[str, Any] = {}
    for symbol, own in bars.items():
        close = np.array([bar.close for bar in own])
        assert [bar.ts.date().isoformat() for bar in own] == days
        mean = np.full(len(close), np.nan)
        mean[window - 1 :] = np.lib.stride_tricks.sliding_window_view(close, window).mean(axis=1)
        edge = np.where(close < mean * (1 - depth), 1.0, np.where(close >= mean, 0.0, np.nan))
        edge[0] = np.nan  # without a close before it nothing is sent
        known = ~np.isnan(edge)
        place = np.maximum.accumulate(np.where(known, np.arange(len(edge)), -1))
        wanted[symbol] = np.where(place >= 0, edge[np.maximum(place, 0)], 0.0)
    cash, held = Decimal(1_000_000), dict.fromkeys(bars, 0)
    orders: list[tuple[str, int]] = []
    trades = []
    for day in range(len(days)):
        for symbol, qty in sorted(orders):
            price = bars[symbol][day].open
            fee = round(Decimal(repr(price)) * abs(qty) * Decimal(repr(FEE)), 6)
            cash -= Decimal(repr(price)) * qty + fee
            held[symbol] += qty
            trades.append((days[day], symbol, "BUY" if qty > 0 else "SELL", abs(qty), price))
        equity = float(cash) + sum(held[symbol] * bars[symbol][day].close for symbol in bars)
        orders = []
        for symbol in bars:
            if wanted[symbol][day] and not held[symbol]:
                orders.append((symbol, math.floor(0.2 * equity / bars[symbol][day].close)))
            elif held[symbol] and not wanted[symbol][day]:
                orders.append((symbol, -held[symbol]))
    return trades


@pytest.mark.parametrize(
    ("window", "depth"),
    [
        (10, 0.03),
        (30, 0.08),
        *(pytest.param(*each, marks=pytest.mark.long) for each in ((5, 0.02), (10, 0.05), (20, 0.04))),
    ],
)
def test_trades_equal_those_of_whole_columns(
    dip: str,
    terminal: Terminal,
    write: Callable[[str, str], Path],
    monkeypatch: pytest.MonkeyPatch,
    window: int,
    depth: float,
) -> None:
    write("dip.py", dip)
    for name in ("HALF_SPREAD_BP", "IMPACT_BP"):
        monkeypatch.setenv(f"QT_EXECUTION__{name}", "0.0")
    monkeypatch.setenv("QT_EXECUTION__PARTICIPATION", "1.0")
    last = "2000-09-28"  # on the next day AAPL halves, and the collar stops what would be bought
    chosen = ("--symbols", "AAPL,IBM,MSFT", "--to", last, "--set", f"window={window}", "--set", f"depth={depth}")
    terminal.ok("run", "dip.py", *chosen, "--json", "--output", "r")
    with open_reader(Path("r/run.db")) as reader:
        fills = [decode(record.body) for record in reader.read(0, 100_000, ["trade.executed"])]
    found = [
        (fill.timestamp.date().isoformat(), fill["symbol"], fill["side"].value, int(fill["size"]), float(fill["price"]))
        for fill in fills
    ]
    expected = computed(window, depth, last)
    assert len(expected) >= 6
    assert [trade[:4] for trade in sorted(found)] == [trade[:4] for trade in sorted(expected)]
    assert [trade[4] for trade in sorted(found)] == pytest.approx([trade[4] for trade in sorted(expected)], rel=1e-11)
