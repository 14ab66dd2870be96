"""Report: a finished run in figures, as text or JSON.

Pure functions of a run record. Drawdowns are positive fractions; nothing here is a promise of profit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from quantum_trader.monitoring.figures import compound
from quantum_trader.monitoring.funnel import KILL_SWITCH, Funnel
from quantum_trader.monitoring.record import FailureLine, GateLine, RunRecord, StopLine, closed_trades

DEMO: Final = "demo"  # the data set that is shipped
SURVIVORS: Final = "Five surviving stocks, chosen with hindsight: this proves nothing about profit."


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a run. Money in account currency; returns, drawdowns and shares of time are fractions."""

    first: str
    last: str
    sessions: int
    bars: int
    cash: Decimal
    equity: Decimal
    total_return: float
    annual_return: float | None  # None beyond any number: minutes do not make a year
    annual_sharpe: float
    max_drawdown: float
    benchmark_equity: float
    benchmark_return: float
    benchmark_drawdown: float
    fills: int
    closed_trades: int
    winning_trades: int
    net_profit_closed: Decimal
    fees: Decimal
    turnover: float  # traded value over start cash
    exposure: float  # mean share of equity invested
    time_in_mode: dict[str, float]
    policies: int
    denials: dict[str, int]
    promotions: int
    evaluations: dict[str, int]  # by purpose; RETRIED counts those tried again
    charts: dict[str, dict[str, int]]  # points of each control chart, and alarms by rule
    ladder: dict[str, int]  # times the drawdown rose to each of its levels
    periods_per_year: int  # that the annual figures are reckoned with
    fills_by_trigger: dict[str, int]
    dropped: dict[str, dict[str, int]]  # bars kept from everybody, by symbol and reason
    delivered: dict[str, int]  # bars, by symbol
    without_volume: dict[str, int]  # bars whose volume nobody knows: it limited no order
    stops: tuple[StopLine, ...]  # times that trading was stopped or restricted
    failures: tuple[FailureLine, ...]  # STRATEGY_FAILED: times that a strategy of a user's own was stopped
    gates: tuple[GateLine, ...]  # what each would have said of a strategy that is LIVE by its user's word
    funnel: dict[str, Any]  # what became of every wish to buy
    dataset: str

    @property
    def caution(self) -> str:
        """What must be said of the shipped stocks, and of no others."""
        return SURVIVORS if self.dataset == DEMO else ""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; money as text."""
        return {key: str(value) if isinstance(value, Decimal) else value for key, value in asdict(self).items()}


def make_report(record: RunRecord) -> Report:
    """The figures of a run with at least one session. Raises ValueError without one."""
    points = record.points
    if not points or record.last is None:
        raise ValueError("the run has no sessions: nothing to report")
    equity = [float(point.equity) for point in points]
    benchmark = [point.benchmark for point in points]
    start = float(record.cash)
    results = closed_trades(record.trades)
    modes = Counter(point.mode.value for point in points if point.mode is not None)
    # What the orchestrator keeps back while trading is stopped, the guard is never asked.
    stopped = Counter({KILL_SWITCH: record.funnel.refused[KILL_SWITCH]})
    traded = sum((trade.value for trade in record.trades), Decimal(0))
    return Report(
        first=points[0].ts.date().isoformat(),
        last=points[-1].ts.date().isoformat(),
        sessions=len(points),
        bars=record.bars,
        cash=record.cash,
        equity=points[-1].equity,
        total_return=equity[-1] / start - 1.0,
        annual_return=compound(equity[-1] / start, record.periods_per_year / len(points)),
        annual_sharpe=_annual_sharpe([start, *equity], record.periods_per_year),
        max_drawdown=_deepest([start, *equity]),
        benchmark_equity=benchmark[-1],
        benchmark_return=benchmark[-1] / start - 1.0,
        benchmark_drawdown=_deepest([start, *benchmark]),
        fills=len(record.trades),
        closed_trades=len(results),
        winning_trades=sum(result > 0 for result in results),
        net_profit_closed=sum(results, Decimal(0)),
        fees=record.last.fees,
        turnover=float(traded) / start,
        exposure=record.exposure_sum / len(points),
        time_in_mode={mode: count / len(points) for mode, count in sorted(modes.items())},
        policies=record.policies,
        denials=dict(sorted((record.denials + stopped).items())),
        promotions=len(record.promotions),
        evaluations=dict(sorted(record.evaluations.items())),
        charts={
            name: {"points": tally.points} | {f"rule {rule}": tally.alarms[rule] for rule in sorted(tally.alarms)}
            for name, tally in sorted(record.charts.items())
        },
        ladder={f"{level:.0%}": record.ladder[level] for level in sorted(record.ladder)},
        periods_per_year=record.periods_per_year,
        fills_by_trigger=dict(sorted(Counter(trade.trigger.value for trade in record.trades).items())),
        dropped={symbol: dict(sorted(kinds.items())) for symbol, kinds in sorted(record.dropped.items())},
        delivered=dict(sorted(record.delivered.items())),
        without_volume=dict(sorted(record.without_volume.items())),
        stops=tuple(record.stops),
        failures=tuple(record.failures),
        gates=tuple(record.gates),
        funnel=record.funnel.as_dict(),
        dataset=record.dataset,
    )


def as_lines(report: Report) -> list[tuple[str, str]]:
    """The report as labelled lines for people."""
    wins = f"{report.winning_trades} of {report.closed_trades} closed" if report.closed_trades else "none closed"
    modes = ", ".join(f"{mode} {share:.0%}" for mode, share in report.time_in_mode.items()) or "no policy"
    funnel = Funnel.load(report.funnel)
    return [
        *(("Trading stopped", _stop(stop)) for stop in report.stops),
        *(("STRATEGY_FAILED", failure_line(failure)) for failure in report.failures),
        *([] if report.fills else [("Why nothing traded", funnel.why_nothing(report.bars))]),
        ("Period", f"{report.first} .. {report.last}, {report.sessions:,} sessions, {report.bars:,} bars"),
        ("Equity", f"{report.equity:,.2f} from {report.cash:,.2f} ({report.total_return:+.1%})"),
        ("Buy and hold", f"{report.benchmark_equity:,.2f} ({report.benchmark_return:+.1%})"),
        ("Max drawdown", f"{report.max_drawdown:.1%} (buy and hold {report.benchmark_drawdown:.1%})"),
        ("Sharpe, annual", f"{report.annual_sharpe:.2f} ({report.periods_per_year:,} sessions a year)"),
        ("Trades", f"{report.fills} fills{_by(report.fills_by_trigger)}, {wins} with profit"),
        ("Wishes", funnel.stages()),
        *([] if funnel.best is None else [("Best candidate refused", str(funnel.best))]),
        *((f"Gate {gate.gate}", gate_line(gate)) for gate in report.gates),
        ("Net profit closed", f"{report.net_profit_closed:,.2f}"),
        ("Fees", f"{report.fees:,.2f}"),
        ("Turnover", f"{report.turnover:.1f} times the start cash, {report.exposure:.0%} invested on average"),
        ("Risk modes", f"{modes}; {report.policies} policies"),
        ("Denials", _counts(report.denials)),
        ("Promotions", str(report.promotions)),
        ("Evaluations", _counts(report.evaluations)),
        *((f"Chart {name}", _counts(counts)) for name, counts in report.charts.items()),
        ("Drawdown ladder", _counts(report.ladder)),
        ("Data dropped", _dropped(report)),
        *(
            [("Without volume", f"{_counts(report.without_volume)} bars: no order was limited by it")]
            if report.without_volume
            else []
        ),
    ]


def failure_line(failure: FailureLine) -> str:
    """One line: when a strategy was stopped, where in its code, why, and what would do."""
    about = f" asked about {failure.symbol}" if failure.symbol else ""
    return f"{failure.date}: {failure.place}: {failure.error}{about}; what it held was sold; {failure.remedy}"


def gate_line(gate: GateLine) -> str:
    """One line: what a gate would have said, by the strategy's own fills in the window of the gate."""
    missed = ", ".join(gate.missed)
    match gate.verdict:
        case "PASS":
            return "would let it pass"
        case "FAIL":
            return f"would refuse it: {missed}"
        case _:
            return f"could not judge it: {missed}"


def _stop(stop: StopLine) -> str:
    what = f"{stop.date}: {stop.reason}, {stop.mode}{' latched' if stop.latched else ''}"
    if stop.until is None:
        return f"{what}; nothing was bought since"
    return f"{what}; on {stop.until}: {stop.end}"


def _dropped(report: Report) -> str:
    told = [
        f"{symbol}: {', '.join(f'{kind} {count:,}' for kind, count in kinds.items())}"
        f" of {report.delivered.get(symbol, 0) + sum(kinds.values()):,} bars"
        for symbol, kinds in report.dropped.items()
    ]
    return "; ".join(told) or "none"


def _by(counts: Mapping[str, int]) -> str:
    return f" ({_counts(counts)})" if len(counts) > 1 else ""


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def _annual_sharpe(equity: Sequence[float], periods: int) -> float:
    returns = [b / a - 1.0 for a, b in pairwise(equity) if a > 0]
    if len(returns) < 2:
        return 0.0
    mean = math.fsum(returns) / len(returns)
    variance = math.fsum((value - mean) ** 2 for value in returns) / (len(returns) - 1)
    return mean / math.sqrt(variance) * math.sqrt(periods) if variance > 0 else 0.0


def _deepest(equity: Sequence[float]) -> float:
    peak, deepest = equity[0], 0.0
    for value in equity:
        peak = max(peak, value)
        deepest = max(deepest, 1.0 - value / peak)
    return deepest
