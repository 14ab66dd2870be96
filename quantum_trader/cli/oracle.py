"""Oracle: four runs whose every trade independent engines agree on, and the figures they must come to.

SMA 20/50, long or flat, fixed quantities, fills at the next open, 0.1 % fee per side where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from quantum_trader.app import TradingSystem, load_feed, run_replay
from quantum_trader.config import Config, load_config
from quantum_trader.monitoring.report import Report, make_report

CENT: Final = 0.01


@dataclass(frozen=True, slots=True)
class OracleCase:
    """One reference run. Amounts in account currency, drawdown from the all-time peak as a fraction."""

    name: str
    symbols: tuple[str, ...]
    cash: str
    fee_rate: str
    half_spread_bp: float
    closed: int
    open: int
    fees: str
    net_profit: str
    equity: str
    drawdown: float

    def config(self, **more: dict[str, Any]) -> Config:
        """The profile `oracle` with the numbers of this case."""
        overrides: dict[str, dict[str, Any]] = {
            "app": {"cash": self.cash},
            "universe": {"symbols": self.symbols},
            "execution": {"fee_rate": self.fee_rate, "half_spread_bp": self.half_spread_bp},
        }
        return load_config(profile="oracle", overrides=overrides | more, environ={})


CASES: Final = (
    OracleCase(
        "A", ("GOOG",), "100000", "0.001", 0.0, 20, 1, "788.266264", "13477.628536", "117137.869736", 0.076987832
    ),
    OracleCase("B", ("GOOG",), "100000", "0", 0.0, 20, 1, "0", "14237.336000", "117926.136000", 0.074892377),
    OracleCase(
        "C", ("GOOG",), "100000", "0.001", 5.0, 20, 1, "788.273425", "13097.781923", "116743.729443", 0.078040483
    ),
    OracleCase(
        "E",
        ("AAPL", "FB", "GOOG", "IBM", "MSFT"),
        "300000",
        "0.001",
        0.0,
        128,
        3,
        "4784.275826",
        "96441.173151",
        "402328.703174",
        0.090086903,
    ),
)


def run_case(case: OracleCase) -> tuple[TradingSystem, Report]:
    """Replay a case through the whole bus path."""
    config = case.config()
    system, _ = run_replay(config, load_feed(config))
    return system, make_report(system.record)


def differences(case: OracleCase, system: TradingSystem, report: Report) -> Iterator[str]:
    """Each figure that is not the reference's."""
    held = 0 if system.record.last is None else len(system.record.last.positions)
    for name, have, want in (("closed trades", report.closed_trades, case.closed), ("open trades", held, case.open)):
        if have != want:
            yield f"{name} {have}, not {want}"
    amounts = (
        ("fees", report.fees, case.fees),
        ("net profit", report.net_profit_closed, case.net_profit),
        ("equity", report.equity, case.equity),
    )
    for name, amount, expected in amounts:
        if abs(float(amount - Decimal(expected))) > CENT:
            yield f"{name} {amount}, not {expected}"
    if abs(report.max_drawdown - case.drawdown) > 1e-8:
        yield f"drawdown {report.max_drawdown:.9f}, not {case.drawdown:.9f}"
