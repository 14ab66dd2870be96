"""Run record: what a report needs of a run, gathered from its events while it happens.

Keeps figures, not events: 41 bytes a session and a line a trade, so that a million bars leave memory as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Self

from eventbus import EventBus
from quantum_trader.events import (
    AlertThresholdExceededEvent,
    EvaluationRetriedEvent,
    EvaluationStartedEvent,
    FeedAnomalyEvent,
    KillSwitchChangedEvent,
    MarketBarEvent,
    ModelPromotedEvent,
    OrderDeniedEvent,
    PolicyUpdatedEvent,
    PortfolioUpdatedEvent,
    PromotionRefusedEvent,
    SampleProcessedEvent,
    SessionDecideEvent,
    StrategyPromotedEvent,
    TradeExecutedEvent,
    ViolationCreatedEvent,
)
from quantum_trader.events.own import GatesReportedEvent, StrategyFailedEvent
from quantum_trader.model import MONEY, UNKNOWN_VOLUME, KillMode, RiskMode, Side, Trigger, money
from quantum_trader.monitoring.equity_curve import EquityCurve, EquityPoint
from quantum_trader.monitoring.funnel import Funnel
from quantum_trader.monitoring.round_trips import RoundTrips

RETRIED: Final = "RETRIED"
DROPPING: Final = frozenset({"BAD_OHLC", "DUPLICATE", "OUT_OF_ORDER"})  # anomalies whose bar nobody gets


@dataclass(frozen=True, slots=True)
class TradeLine:
    """What a report needs of a fill: price and fee in account currency, size in whole lots."""

    timestamp: datetime
    strategy_id: str
    symbol: str
    side: Side
    size: Decimal
    price: Decimal
    fee: Decimal
    trigger: Trigger = Trigger.OPEN
    order_id: str = ""

    @property
    def value(self) -> Decimal:
        """What changed hands, fee aside."""
        return money(MONEY.multiply(self.price, self.size))

    @classmethod
    def of(cls, event: TradeExecutedEvent) -> Self:
        """The line of a fill."""
        who = (event.timestamp, event.strategy_id, event.symbol, event.side)
        return cls(*who, event.size, event.price, event.fee, event.trigger, event.order_id)


@dataclass(slots=True)
class StopLine:
    """Trading was stopped, or restricted to sales: when, why, and when that ended, if it did. Dates are ISO."""

    date: str
    reason: str
    mode: KillMode
    latched: bool
    until: str | None = None
    end: str = ""  # why it ended


@dataclass(frozen=True, slots=True)
class FailureLine:
    """A strategy of a user's own was stopped: when, where in its code, what it did, what would do. Dates are ISO."""

    date: str
    strategy_id: str
    symbol: str  # "" when it was asked about all
    place: str
    error: str
    remedy: str


@dataclass(frozen=True, slots=True)
class GateLine:
    """What a gate would have said of a strategy that went through none: PASS, FAIL or NOT_JUDGED, and what it missed."""

    gate: str
    verdict: str
    missed: tuple[str, ...]
    metrics: Mapping[str, float]


@dataclass(slots=True)
class ChartTally:
    """How many points a control chart has seen, and how often each rule, by its number, was broken."""

    points: int = 0
    alarms: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class RunRecord:
    """Subscribe it with `attach`; read its fields any time."""

    cash: Decimal
    universe_size: int
    points: EquityCurve = field(default_factory=EquityCurve)
    trades: list[TradeLine] = field(default_factory=list)
    denials: Counter[str] = field(default_factory=Counter)
    promotions: list[StrategyPromotedEvent | ModelPromotedEvent] = field(default_factory=list)
    policies: int = 0
    mode: RiskMode | None = None  # of the newest policy
    charts: dict[str, ChartTally] = field(default_factory=dict)
    evaluations: Counter[str] = field(default_factory=Counter)  # started, by purpose; tried again under `RETRIED`
    ladder: Counter[float] = field(default_factory=Counter)  # times the drawdown rose to each level
    last: PortfolioUpdatedEvent | None = None
    bars: int = 0
    exposure_sum: float = 0.0  # of the share of equity invested, over sessions
    periods_per_year: int = 252
    dataset: str = ""  # its name, where it has one
    delivered: Counter[str] = field(default_factory=Counter)  # bars, by symbol
    without_volume: Counter[str] = field(default_factory=Counter)  # of these, bars whose volume nobody knows
    dropped: dict[str, Counter[str]] = field(default_factory=dict)  # bars kept from everybody, by symbol and reason
    stops: list[StopLine] = field(default_factory=list)
    failures: list[FailureLine] = field(default_factory=list)
    gates: list[GateLine] = field(default_factory=list)
    funnel: Funnel = field(default_factory=Funnel)
    _firsts: dict[str, float] = field(default_factory=dict)
    _closes: dict[str, float] = field(default_factory=dict)

    def attach(self, bus: EventBus) -> None:
        bus.subscribe(MarketBarEvent, self.on_bar, name="record.bar")
        bus.subscribe(PortfolioUpdatedEvent, self.on_portfolio_updated, name="record.portfolio")
        bus.subscribe(SessionDecideEvent, self.on_session_decide, name="record.decide")
        bus.subscribe(TradeExecutedEvent, self.on_trade_executed, name="record.trade")
        bus.subscribe(OrderDeniedEvent, self.on_order_denied, name="record.denied")
        bus.subscribe(PromotionRefusedEvent, self.on_promotion_refused, name="record.refused")
        bus.subscribe(StrategyPromotedEvent, self.on_promoted, name="record.strategy")
        bus.subscribe(ModelPromotedEvent, self.on_promoted, name="record.model")
        bus.subscribe(PolicyUpdatedEvent, self.on_policy_updated, name="record.policy")
        bus.subscribe(SampleProcessedEvent, self.on_sample_processed, name="record.sample")
        bus.subscribe(ViolationCreatedEvent, self.on_violation_created, name="record.violation")
        bus.subscribe(EvaluationStartedEvent, self.on_evaluation_started, name="record.evaluation")
        bus.subscribe(EvaluationRetriedEvent, self.on_evaluation_retried, name="record.retried")
        bus.subscribe(AlertThresholdExceededEvent, self.on_threshold_exceeded, name="record.threshold")
        bus.subscribe(FeedAnomalyEvent, self.on_feed_anomaly, name="record.anomaly")
        bus.subscribe(KillSwitchChangedEvent, self.on_kill_switch_changed, name="record.killswitch")
        self.funnel.attach(bus)

    def attach_own(self, bus: EventBus) -> None:
        """Where a strategy of a user's own runs, hear of its failure, and of what the gates would have said of it."""
        bus.subscribe(StrategyFailedEvent, self.on_strategy_failed, name="record.failed")
        bus.subscribe(GatesReportedEvent, self.on_gates_reported, name="record.gates")

    async def on_strategy_failed(self, event: StrategyFailedEvent) -> None:
        date = event.timestamp.date().isoformat()
        line = FailureLine(date, event.strategy_id, event.symbol, event.place, event.error, event.remedy)
        self.failures.append(line)

    async def on_gates_reported(self, event: GatesReportedEvent) -> None:
        self.gates = [GateLine(item.gate, item.verdict, item.reasons, dict(item.metrics)) for item in event.items]

    async def on_bar(self, event: MarketBarEvent) -> None:
        self.bars += 1
        self.delivered[event.symbol] += 1
        if event.volume == UNKNOWN_VOLUME:
            self.without_volume[event.symbol] += 1
        self._firsts.setdefault(event.symbol, event.open)
        self._closes[event.symbol] = event.close

    async def on_portfolio_updated(self, event: PortfolioUpdatedEvent) -> None:
        self.keep_portfolio(event)

    async def on_session_decide(self, event: SessionDecideEvent) -> None:
        # Only now is it certain which policy the session ended with, whoever was heard first.
        last = self.last
        if last is not None and last.session == event.session:
            point = EquityPoint(last.session, last.timestamp, last.equity, self.benchmark(), last.drawdown, self.mode)
            self.points.append(point)

    async def on_trade_executed(self, event: TradeExecutedEvent) -> None:
        self.trades.append(TradeLine.of(event))

    async def on_order_denied(self, event: OrderDeniedEvent) -> None:
        self.denials[event.code] += 1

    async def on_promotion_refused(self, event: PromotionRefusedEvent) -> None:
        self.denials[event.code] += 1

    async def on_promoted(self, event: StrategyPromotedEvent | ModelPromotedEvent) -> None:
        self.promotions.append(event)

    async def on_policy_updated(self, event: PolicyUpdatedEvent) -> None:
        self.policies += 1
        self.mode = event.risk_mode

    async def on_sample_processed(self, event: SampleProcessedEvent) -> None:
        self.charts.setdefault(event.chart, ChartTally()).points += 1

    async def on_violation_created(self, event: ViolationCreatedEvent) -> None:
        self.charts.setdefault(event.chart, ChartTally()).alarms[event.rule_id] += 1

    async def on_evaluation_started(self, event: EvaluationStartedEvent) -> None:
        self.evaluations[event.purpose.value] += 1

    async def on_evaluation_retried(self, event: EvaluationRetriedEvent) -> None:
        self.evaluations[RETRIED] += 1

    async def on_threshold_exceeded(self, event: AlertThresholdExceededEvent) -> None:
        self.ladder[event.threshold] += 1

    async def on_feed_anomaly(self, event: FeedAnomalyEvent) -> None:
        if event.kind in DROPPING:
            self.dropped.setdefault(event.symbol, Counter())[event.kind] += 1

    async def on_kill_switch_changed(self, event: KillSwitchChangedEvent) -> None:
        date = event.timestamp.date().isoformat()
        if self.stops and self.stops[-1].until is None:
            self.stops[-1].until, self.stops[-1].end = date, event.reason
        if event.mode is not KillMode.OFF:
            self.stops.append(StopLine(date, event.reason, event.mode, event.latched))

    def rest(self) -> dict[str, Any]:
        """What of it no table of its own tells, in plain JSON values."""
        return {
            "periods_per_year": self.periods_per_year,
            "dataset": self.dataset,
            "delivered": dict(self.delivered),
            "without_volume": dict(self.without_volume),
            "dropped": {symbol: dict(kinds) for symbol, kinds in self.dropped.items()},
            "stops": [asdict(stop) | {"mode": stop.mode.value} for stop in self.stops],
            "failures": [asdict(failure) for failure in self.failures],
            "gates": [asdict(gate) for gate in self.gates],
            "funnel": self.funnel.as_dict(),
        }

    def take_rest(self, rest: Mapping[str, Any]) -> None:
        """Become what `rest` told."""
        self.periods_per_year, self.dataset = rest["periods_per_year"], rest["dataset"]
        self.delivered = Counter(rest["delivered"])
        self.without_volume = Counter(rest["without_volume"])
        self.dropped = {symbol: Counter(kinds) for symbol, kinds in rest["dropped"].items()}
        self.stops = [StopLine(**stop | {"mode": KillMode(stop["mode"])}) for stop in rest["stops"]]
        self.failures = [FailureLine(**failure) for failure in rest["failures"]]
        self.gates = [GateLine(**gate | {"missed": tuple(gate["missed"])}) for gate in rest["gates"]]
        self.funnel = Funnel.load(rest["funnel"])

    def keep_portfolio(self, event: PortfolioUpdatedEvent) -> None:
        """Remember the newest statement, and what it says of exposure."""
        self.last = event
        self.exposure_sum += float(event.gross) / float(event.equity) if event.equity else 0.0

    def benchmark(self) -> float:
        """Buy and hold at the last closes: equal shares of the start cash in every symbol; one not listed yet waits as cash.

        No price before a listing is ever assumed: a symbol is bought at its own first open, out of its own share.
        """
        if not self._firsts:
            return float(self.cash)
        share = float(self.cash) / max(len(self._firsts), self.universe_size)
        waiting = max(0, self.universe_size - len(self._firsts))
        return share * (waiting + sum(self._closes[symbol] / first for symbol, first in sorted(self._firsts.items())))


def closed_trades(trades: Iterable[TradeLine]) -> list[Decimal]:
    """Net profit of each round trip per (strategy, symbol): from flat to flat, fees included, oldest first."""
    trips = RoundTrips()
    results = (trips.take(one.strategy_id, one.symbol, one.side, one.size, one.value, one.fee) for one in trades)
    return [result for result in results if result is not None]
