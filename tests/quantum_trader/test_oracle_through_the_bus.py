"""The whole path (bars, signals, proposals, sizes, checks, venue, ledger) against the figures that engines agree on."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from quantum_trader.app import TradingSystem
from quantum_trader.cli.oracle import CASES, OracleCase, differences, run_case
from quantum_trader.model import MICRO, Side
from quantum_trader.monitoring.record import TradeLine
from quantum_trader.monitoring.report import Report

ORACLE = Path(__file__).parents[1] / "data" / "oracle"
FILES = {"A": "A_goog_fee", "B": "B_goog_nofee", "C": "C_goog_fee_slip5bp", "E": "E_portfolio5_fee"}


@dataclass(frozen=True)
class Finished:
    """A case that was run to its end, once for all that is asked about it."""

    case: OracleCase
    system: TradingSystem
    report: Report


IN_SHORT = {"C"}  # one symbol, with a fee and slippage; the others with `make check-all`


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(case, id=case.name, marks=() if case.name in IN_SHORT else pytest.mark.long) for case in CASES
    ],
)
def finished(request: pytest.FixtureRequest) -> Finished:
    return Finished(request.param, *run_case(request.param))


def rows(case: OracleCase, what: str) -> list[dict[str, str]]:
    with (ORACLE / f"{FILES[case.name]}.{what}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def trades(system: TradingSystem) -> Iterator[tuple[TradeLine, TradeLine | None]]:
    """Entry and exit, None as the exit of one that is open at the end."""
    fills = system.record.trades
    for number, entry in enumerate(fills):
        if entry.side is Side.BUY:
            later = (fill for fill in fills[number:] if fill.symbol == entry.symbol and fill.side is Side.SELL)
            yield entry, next(later, None)


def test_every_trade_is_the_reference_trade(finished: Finished) -> None:
    case, system = finished.case, finished.system
    have = sorted(
        (
            entry.symbol,
            entry.timestamp.date().isoformat(),
            "" if leave is None else leave.timestamp.date().isoformat(),
            int(entry.size),
            entry.price,
            Decimal(0) if leave is None else leave.price,
        )
        for entry, leave in trades(system)
    )
    want = sorted(rows(case, "trades"), key=lambda row: (row["symbol"], row["entry_date"]))
    assert len(have) == len(want)
    for trade, row in zip(have, want, strict=True):
        assert trade[:4] == (row["symbol"], row["entry_date"], row["exit_date"], int(row["qty"]))
        assert abs(trade[4] - Decimal(row["entry_price"])) <= MICRO
        assert abs(trade[5] - Decimal(row["exit_price"])) <= MICRO


def test_equity_at_every_session_is_within_a_cent(finished: Finished) -> None:
    case, system = finished.case, finished.system
    points, want = system.record.points, rows(case, "equity")
    assert [point.ts.date().isoformat() for point in points] == [row["date"] for row in want]
    assert max(abs(p.equity - Decimal(r["equity"])) for p, r in zip(points, want, strict=True)) <= Decimal("0.01")


def test_sums_are_those_of_the_engines(finished: Finished) -> None:
    case, system, report = finished.case, finished.system, finished.report
    assert list(differences(case, system, report)) == []
    figures = json.loads((ORACLE / f"{FILES[case.name]}.reference.json").read_text())
    assert report.winning_trades == figures["wins"]


def test_nothing_was_dead_lettered_and_the_books_held(finished: Finished) -> None:
    system = finished.system
    assert len(system.bus.dead_letters) == 0
    assert system.record.last is not None
    assert system.record.last.invariants_ok
