"""Risk state: everything a pre-trade check may look at, and nothing it could only guess.

The risk guard keeps it current from the events it receives; the checks read it. What has not been heard of is absent,
and absent denies entries. Knows no event.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from quantum_trader.config import Costs, RiskConfig
from quantum_trader.execution.fills import fee, notional
from quantum_trader.instruments import Instruments
from quantum_trader.model import MONEY, Bar, HealthStatus, KillMode, Order, OrderKind, Side, money, price

Pair = tuple[str, str]  # strategy, symbol
CALM = 3  # sessions without an oddity after which a symbol's live feed is trusted again


@dataclass(frozen=True, slots=True)
class PolicyView:
    """What the guard needs of a policy. `confirmed_session` is when it was last published or re-confirmed."""

    version: int
    allowed_strategies: frozenset[str]
    global_min_confidence: float
    max_risk_per_trade: float
    max_positions: int
    gross_limit: float
    effective_session: int
    confirmed_session: int


class PolicyMissing(Exception):
    """A limit of the policy was asked for and there is no policy. Entries stay denied until one is published."""

    def __init__(self) -> None:
        super().__init__("no policy has been published; entries are denied until one is")


@dataclass(slots=True)
class SymbolFacts:
    """What the bars of one symbol told. `volumes` are the last 20."""

    last_session: int
    close: float
    previous_close: float | None = None
    jump_session: int | None = None
    volumes: deque[float] = field(default_factory=lambda: deque(maxlen=20))

    @property
    def adv20(self) -> float:
        """Average daily volume over the last 20 bars, or as many as there are."""
        return math.fsum(self.volumes) / len(self.volumes) if self.volumes else 0.0


@dataclass(slots=True)
class Pending:
    """What matters of an approved order while it works; `leaves` is what it still wants."""

    strategy_id: str
    symbol: str
    kind: OrderKind
    reference: float
    leaves: Decimal


@dataclass(frozen=True, slots=True)
class Stop:
    """A position that its protective stop closed."""

    session: int
    strategy_id: str
    symbol: str
    order_id: str = ""


@dataclass(slots=True)
class RiskState:
    """The guard's view of the world. `drawdown` is a positive fraction, `day_return` one of the last equity."""

    session: int
    health: HealthStatus
    equity: Decimal
    cash: Decimal
    universe: frozenset[str]
    limits: RiskConfig = field(default_factory=RiskConfig)
    costs: Costs = field(default_factory=Costs)
    instruments: Instruments = field(default_factory=Instruments)
    kill_mode: KillMode = KillMode.OFF
    policy: PolicyView | None = None
    live_strategies: frozenset[str] = frozenset()
    excluded: dict[str, str] = field(default_factory=dict)  # symbol -> reason of the ranker
    symbols: dict[str, SymbolFacts] = field(default_factory=dict)
    positions: dict[Pair, Decimal] = field(default_factory=dict)
    drawdown: float = 0.0
    day_return: float = 0.0
    seen: set[str] = field(default_factory=set)  # order ids judged
    working: dict[str, Pending] = field(default_factory=dict)  # by order id
    approved_in_session: Counter[str] = field(default_factory=Counter)  # orders approved, by symbol
    stops: list[Stop] = field(default_factory=list)  # recent ones
    paused: dict[str, int] = field(default_factory=dict)  # symbols whose live feed was odd, and in which session

    def required_policy(self) -> PolicyView:
        """The policy. Raises `PolicyMissing` without one, which denies."""
        if self.policy is None:
            raise PolicyMissing
        return self.policy

    def held(self, strategy_id: str, symbol: str) -> Decimal:
        """What the strategy holds of the symbol."""
        return self.positions.get((strategy_id, symbol), Decimal(0))

    def exposure(self) -> dict[str, float]:
        """Value by symbol, positions at the last close and working entries at their reference, in account currency."""
        exposure: dict[str, float] = {}
        for (_, symbol), qty in sorted(self.positions.items()):
            if qty:
                exposure[symbol] = exposure.get(symbol, 0.0) + float(qty) * self.symbols[symbol].close
        for order_id in sorted(self.working):
            order = self.working[order_id]
            if order.kind is OrderKind.ENTRY:
                exposure[order.symbol] = exposure.get(order.symbol, 0.0) + float(order.leaves) * order.reference
        return exposure

    def cash_needed(self, qty: Decimal, reference: float) -> Decimal:
        """What buying `qty` at `reference` sets aside: value, fee and the reserve for a worse open."""
        paid = price(reference)
        cost = MONEY.add(notional(qty, paid), fee(Side.BUY, qty, paid, self.costs))
        return money(MONEY.multiply(cost, MONEY.add(1, money(self.limits.cash_reserve))))

    def free_cash(self) -> Decimal:
        """Cash minus what working entries have set aside."""
        free = self.cash
        for order in self.working.values():
            if order.kind is OrderKind.ENTRY:
                free = MONEY.subtract(free, self.cash_needed(order.leaves, order.reference))
        return free

    def open_session(self, session: int) -> None:
        """A new session began: counts start again, stops that can no longer matter are forgotten."""
        self.session = session
        self.approved_in_session.clear()
        horizon = max(self.limits.cooldown, self.limits.burst_window + self.limits.burst_pause)
        self.stops = [stop for stop in self.stops if session - stop.session < horizon]

    def note_bar(self, bar: Bar) -> None:
        facts = self.symbols.get(bar.symbol)
        if facts is None:
            facts = self.symbols[bar.symbol] = SymbolFacts(bar.session, bar.close)
        else:
            facts.previous_close, facts.close, facts.last_session = facts.close, bar.close, bar.session
        facts.volumes.append(bar.volume)

    def note_jump(self, symbol: str, session: int) -> None:
        """The feed suspects an unadjusted split; the bar itself has been noted."""
        self.symbols[symbol].jump_session = session

    def note_pause(self, symbol: str, session: int) -> None:
        """The live feed of a symbol is not to be trusted just now."""
        self.paused[symbol] = session

    def note_denied(self, order: Order) -> None:
        self.seen.add(order.order_id)

    def note_approved(self, order: Order) -> None:
        """The order is on its way to the venue: from now on it counts and sets cash aside."""
        self.seen.add(order.order_id)
        self.approved_in_session[order.symbol] += 1
        self.working[order.order_id] = Pending(order.strategy_id, order.symbol, order.kind, order.reference, order.qty)

    def note_leaves(self, order_id: str, leaves: Decimal) -> None:
        """A fill left `leaves` of the order. One that is not working (a protective stop's) changes nothing."""
        pending = self.working.get(order_id)
        if pending is None:
            return
        pending.leaves = leaves
        if not leaves:
            del self.working[order_id]

    def note_ended(self, order_id: str) -> None:
        """The order was rejected, cancelled or expired."""
        self.working.pop(order_id, None)

    def note_stop(self, stop: Stop) -> None:
        """A fill of a protective stop; one that needs several bars is still one stop."""
        if not any(stop.order_id and known.order_id == stop.order_id for known in self.stops):
            self.stops.append(stop)

    def state(self) -> dict[str, Any]:
        """Everything heard, as plain JSON values, for a checkpoint; limits, costs and universe are configuration."""
        policy = None if self.policy is None else asdict(self.policy)
        if policy is not None:
            policy["allowed_strategies"] = sorted(policy["allowed_strategies"])
        return {
            "session": self.session,
            "health": self.health.value,
            "equity": str(self.equity),
            "cash": str(self.cash),
            "kill_mode": self.kill_mode.value,
            "policy": policy,
            "live_strategies": sorted(self.live_strategies),
            "excluded": dict(sorted(self.excluded.items())),
            "symbols": {
                symbol: asdict(facts) | {"volumes": list(facts.volumes)}
                for symbol, facts in sorted(self.symbols.items())
            },
            "positions": [[*pair, str(qty)] for pair, qty in sorted(self.positions.items())],
            "drawdown": self.drawdown,
            "day_return": self.day_return,
            "seen": sorted(self.seen),
            "working": {
                order_id: asdict(pending) | {"kind": pending.kind.value, "leaves": str(pending.leaves)}
                for order_id, pending in sorted(self.working.items())
            },
            "approved_in_session": dict(sorted(self.approved_in_session.items())),
            "stops": [asdict(stop) for stop in self.stops],
            "paused": dict(sorted(self.paused.items())),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        policy = state["policy"]
        self.session = state["session"]
        self.health = HealthStatus(state["health"])
        self.equity = money(state["equity"])
        self.cash = money(state["cash"])
        self.kill_mode = KillMode(state["kill_mode"])
        self.policy = (
            None
            if policy is None
            else PolicyView(**policy | {"allowed_strategies": frozenset(policy["allowed_strategies"])})
        )
        self.live_strategies = frozenset(state["live_strategies"])
        self.excluded = dict(state["excluded"])
        self.symbols = {
            symbol: SymbolFacts(**facts | {"volumes": deque(facts["volumes"], maxlen=20)})
            for symbol, facts in state["symbols"].items()
        }
        self.positions = {(strategy_id, symbol): Decimal(qty) for strategy_id, symbol, qty in state["positions"]}
        self.drawdown = state["drawdown"]
        self.day_return = state["day_return"]
        self.seen = set(state["seen"])
        self.working = {
            order_id: Pending(**pending | {"kind": OrderKind(pending["kind"]), "leaves": Decimal(pending["leaves"])})
            for order_id, pending in state["working"].items()
        }
        self.approved_in_session = Counter(state["approved_in_session"])
        self.stops = [Stop(**stop) for stop in state["stops"]]
        self.paused = dict(state["paused"])
