"""Venue and accounts against the figures that independent engines agree on: every trade, every equity, every sum."""

from __future__ import annotations

import csv
import json
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Context, Decimal, FloatOperation, Inexact, Rounded, localcontext
from pathlib import Path
from typing import Any

import pytest

from quantum_trader.config import ExecutionConfig
from quantum_trader.execution.accounts import Accounts, Statement
from quantum_trader.execution.fills import Fill
from quantum_trader.execution.venue import PaperVenue
from quantum_trader.market.dataset import load_dataset
from quantum_trader.model import MICRO, Bar, Order, OrderKind, Side

ORACLE = Path(__file__).parents[2] / "data" / "oracle"
QTY = {"AAPL": 200, "FB": 400, "GOOG": 40, "IBM": 150, "MSFT": 600}
FAST, SLOW = 20, 50
STRATEGY = "sma"


@dataclass(frozen=True)
class Case:
    name: str
    symbols: tuple[str, ...]
    cash: Decimal
    fee_rate: Decimal
    half_spread_bp: float

    @property
    def costs(self) -> ExecutionConfig:
        return ExecutionConfig(
            half_spread_bp=self.half_spread_bp, impact_bp=0.0, participation=1.0, fee_rate=self.fee_rate
        )


CASES = (
    Case("A_goog_fee", ("GOOG",), Decimal(100_000), Decimal("0.001"), 0.0),
    Case("B_goog_nofee", ("GOOG",), Decimal(100_000), Decimal(0), 0.0),
    Case("C_goog_fee_slip5bp", ("GOOG",), Decimal(100_000), Decimal("0.001"), 5.0),
    Case("E_portfolio5_fee", tuple(QTY), Decimal(300_000), Decimal("0.001"), 0.0),
)
BY_NAME = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@dataclass
class Run:
    dates: list[str] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)

    def trades(self) -> Iterator[tuple[Fill, Fill | None]]:
        """Entry and exit of each trade in the order of entries; None as the exit of one that is open at the end."""
        for number, entry in enumerate(self.fills):
            if entry.side is Side.BUY:
                later = (fill for fill in self.fills[number:] if fill.symbol == entry.symbol and fill.side is Side.SELL)
                yield entry, next(later, None)


def signal(closes: deque[float], bars_seen: int, held: bool) -> Side | None:
    """The decision at a close; the first one is at the bar with index 50."""
    if bars_seen <= SLOW:
        return None
    up = sum(list(closes)[-FAST:]) / FAST > sum(closes) / SLOW
    if up is held:
        return None
    return Side.BUY if up else Side.SELL


def replay(case: Case) -> Run:
    run = Run()
    venue, accounts = PaperVenue(case.costs, cash=case.cash), Accounts(case.cash)
    closes: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=SLOW))
    seen: dict[str, int] = defaultdict(int)
    for session in load_dataset(symbols=case.symbols):
        bars = [as_the_reference_saw(bar) for bar in session.bars]
        for bar in bars:
            for report in venue.on_bar(bar):
                assert isinstance(report, Fill)
                accounts.book(report)
                run.fills.append(report)
            accounts.mark(bar.symbol, bar.session, bar.close)
            closes[bar.symbol].append(bar.close)
            seen[bar.symbol] += 1
        assert venue.end_session(session.session) == []
        run.dates.append(session.ts.date().isoformat())
        run.statements.append(accounts.close_session(session.session))
        for bar in bars:
            side = signal(closes[bar.symbol], seen[bar.symbol], (STRATEGY, bar.symbol) in venue.positions())
            if side is not None:
                venue.submit(order(bar, side))
    assert venue.cash == accounts.cash
    assert venue.positions() == accounts.quantities()
    return run


def as_the_reference_saw(bar: Bar) -> Bar:
    """The other engines were given prices of six decimals."""
    opened, high, low, close = (round(price, 6) for price in (bar.open, bar.high, bar.low, bar.close))
    return replace(bar, open=opened, high=high, low=low, close=close)


def order(bar: Bar, side: Side) -> Order:
    order_id = f"{bar.session}-{STRATEGY}-{bar.symbol}-{side}-1"
    kind = OrderKind.ENTRY if side is Side.BUY else OrderKind.EXIT
    return Order(
        order_id, order_id, STRATEGY, bar.symbol, side, kind, Decimal(QTY[bar.symbol]), bar.close, session=bar.session
    )


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    return {case.name: replay(case) for case in CASES}


def rows(case: Case, what: str) -> list[dict[str, str]]:
    with (ORACLE / f"{case.name}.{what}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def reference(case: Case) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((ORACLE / f"{case.name}.reference.json").read_text())
    return figures


def net(entry: Fill, leave: Fill) -> Decimal:
    return (leave.price - entry.price) * entry.qty - entry.fee - leave.fee


def row_of(entry: Fill, leave: Fill | None, dates: list[str]) -> tuple[tuple[str, str, str, int], tuple[Decimal, ...]]:
    """A trade as the reference writes it: the open ones without exit, with zeros and one fee."""
    what = (entry.symbol, dates[entry.session], "" if leave is None else dates[leave.session], int(entry.qty))
    if leave is None:
        return what, (entry.price, Decimal(0), entry.fee, Decimal(0))
    return what, (entry.price, leave.price, entry.fee + leave.fee, net(entry, leave))


@BY_NAME
def test_every_trade_is_the_reference_trade(case: Case, runs: dict[str, Run]) -> None:
    run, expected = runs[case.name], rows(case, "trades")
    trades = sorted(row_of(entry, leave, run.dates) for entry, leave in run.trades())
    expected.sort(key=lambda row: (row["symbol"], row["entry_date"]))
    assert len(trades) == len(expected)
    for (what, amounts), row in zip(trades, expected, strict=True):
        assert what == (row["symbol"], row["entry_date"], row["exit_date"], int(row["qty"]))
        wanted = [Decimal(row[column]) for column in ("entry_price", "exit_price", "fees", "pnl_net")]
        off = [abs(have - want) for have, want in zip(amounts, wanted, strict=True)]
        assert max(off[:3]) <= MICRO
        # The reference multiplies prices that it rounds only when writing them.
        assert off[3] <= MICRO * (what[3] + 1)


@BY_NAME
def test_equity_at_every_bar_is_within_a_cent(case: Case, runs: dict[str, Run]) -> None:
    run, expected = runs[case.name], rows(case, "equity")
    assert run.dates == [row["date"] for row in expected]
    off = [abs(s.equity - Decimal(row["equity"])) for s, row in zip(run.statements, expected, strict=True)]
    assert max(off) <= Decimal("0.01")


@BY_NAME
def test_sums_are_the_reference_sums(case: Case, runs: dict[str, Run]) -> None:
    run, expected = runs[case.name], reference(case)
    trips = [(entry, leave) for entry, leave in run.trades() if leave is not None]
    last = run.statements[-1]
    equity = [float(statement.equity) for statement in run.statements]
    peak, deepest = equity[0], 0.0
    for value in equity:
        peak = max(peak, value)
        deepest = max(deepest, 1.0 - value / peak)
    assert len(trips) == expected["trades_closed"]
    assert len(last.positions) == expected["trades_open"]
    assert sum(net(*trip) > 0 for trip in trips) == expected["wins"]
    assert float(sum(net(*trip) for trip in trips)) == pytest.approx(expected["net_pnl_closed"], abs=0.001)
    assert float(last.fees) == pytest.approx(expected["fees_paid"], abs=0.0001)
    assert float(last.cash) == pytest.approx(expected["cash_final"], abs=0.001)
    assert (equity[-1], min(equity), max(equity)) == pytest.approx(
        (expected["equity_final"], expected["equity_min"], expected["equity_max"]), abs=0.01
    )
    assert deepest == pytest.approx(expected["max_drawdown"], abs=1e-8)


@BY_NAME
def test_the_books_hold_at_every_session(case: Case, runs: dict[str, Run]) -> None:
    assert [statement for statement in runs[case.name].statements if not statement.invariants_ok] == []


def test_ambient_decimal_context_changes_no_figure(runs: dict[str, Run]) -> None:
    polluted = Context(prec=3, rounding=ROUND_CEILING, traps=[Inexact, Rounded, FloatOperation])
    case = CASES[2]
    with localcontext(polluted):
        run = replay(case)
    assert run.fills == runs[case.name].fills
    assert run.statements == runs[case.name].statements
