"""Funnel: how many wishes to buy there were, and where each of them ended: refused, dropped, denied or filled.

What answers "why did nothing trade": the stage that let nothing through, and of the candidates that wanted to trade the one that
came closest, with the gate it missed. Counts entries only; exits are never the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from eventbus import EventBus
from quantum_trader.events import (
    EvaluationCompletedEvent,
    OrderApprovedEvent,
    OrderCancelledEvent,
    OrderDeniedEvent,
    OrderExpiredEvent,
    OrderRejectedEvent,
    OrdersProposedEvent,
    OrdersSizedEvent,
    Purpose,
    SignalsGeneratedEvent,
    StrategyPromotedEvent,
    TradeExecutedEvent,
)
from quantum_trader.model import OrderKind, Side, StrategyLifecycle, Trigger

KILL_SWITCH: Final = "KILL_SWITCH"
_STEPS: Final = (Purpose.BACKTEST, Purpose.SHADOW)  # gates on the way up, in their order


@dataclass(frozen=True, slots=True)
class Candidate:
    """A strategy that a gate refused: the gate, its figures against their limits, and when."""

    strategy_id: str
    gate: str
    missed: tuple[str, ...]
    psr: float
    session: int

    @property
    def rank(self) -> tuple[int, int, float]:
        """How close it came: by the gate it reached, how little it missed, and its probability of skill."""
        return _STEPS.index(Purpose(self.gate)), -len(self.missed), self.psr

    def __str__(self) -> str:
        return f"{self.strategy_id} at the {self.gate} gate: {', '.join(self.missed)}"


@dataclass(slots=True)
class Funnel:
    """Counts of entries, by what became of them. `went_live` counts promotions to LIVE, `judged` evaluations on the way up."""

    signals: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # by the orchestrator, by reason
    dropped: Counter[str] = field(default_factory=Counter)  # by the balancer, by the term that bound
    sized: int = 0
    denied: Counter[str] = field(default_factory=Counter)  # by the risk guard, by check
    approved: int = 0
    filled: int = 0  # orders with a fill at least
    unfilled: Counter[str] = field(default_factory=Counter)  # orders that ended without, by reason
    went_live: int = 0
    judged: int = 0
    best: Candidate | None = None
    _entries: dict[str, str] = field(default_factory=dict)  # signals of the session
    _working: set[str] = field(default_factory=set)  # entries approved and not filled yet

    def attach(self, bus: EventBus) -> None:
        bus.subscribe(SignalsGeneratedEvent, self.on_signals_generated, name="record.funnel.signals")
        bus.subscribe(OrdersProposedEvent, self.on_orders_proposed, name="record.funnel.proposed")
        bus.subscribe(OrdersSizedEvent, self.on_orders_sized, name="record.funnel.sized")
        bus.subscribe(OrderApprovedEvent, self.on_order_approved, name="record.funnel.approved")
        bus.subscribe(OrderDeniedEvent, self.on_order_denied, name="record.funnel.denied")
        bus.subscribe(TradeExecutedEvent, self.on_trade_executed, name="record.funnel.trade")
        bus.subscribe(OrderCancelledEvent, self.on_order_ended, name="record.funnel.cancelled")
        bus.subscribe(OrderExpiredEvent, self.on_order_ended, name="record.funnel.expired")
        bus.subscribe(OrderRejectedEvent, self.on_order_rejected, name="record.funnel.rejected")
        bus.subscribe(StrategyPromotedEvent, self.on_strategy_promoted, name="record.funnel.promoted")
        bus.subscribe(EvaluationCompletedEvent, self.on_evaluation_completed, name="record.funnel.evaluated")

    async def on_signals_generated(self, event: SignalsGeneratedEvent) -> None:
        if event.items:
            # What stands in the shadow is no wish to trade yet.
            wishes = [item for item in event.items if item.target and item.stage is StrategyLifecycle.LIVE]
            self._entries = {item.signal_id: item.symbol for item in wishes}
            self.signals += len(wishes)

    async def on_orders_proposed(self, event: OrdersProposedEvent) -> None:
        self.refused.update(item.reason for item in event.rejected if item.signal_id in self._entries)

    async def on_orders_sized(self, event: OrdersSizedEvent) -> None:
        self.sized += sum(item.kind is OrderKind.ENTRY for item in event.items)
        self.dropped.update(item.reason for item in event.dropped if item.intent_id in self._entries)

    async def on_order_approved(self, event: OrderApprovedEvent) -> None:
        if event.kind is OrderKind.ENTRY:
            self.approved += 1
            self._working.add(event.order_id)

    async def on_order_denied(self, event: OrderDeniedEvent) -> None:
        if event.kind is OrderKind.ENTRY:
            self.denied[event.code] += 1

    async def on_trade_executed(self, event: TradeExecutedEvent) -> None:
        if event.side is Side.BUY and event.trigger is Trigger.OPEN and event.order_id in self._working:
            self._working.discard(event.order_id)
            self.filled += 1

    async def on_order_ended(self, event: OrderCancelledEvent | OrderExpiredEvent) -> None:
        self._end(event.order_id, event.reason)

    async def on_order_rejected(self, event: OrderRejectedEvent) -> None:
        self._end(event.order_id, event.code)

    async def on_strategy_promoted(self, event: StrategyPromotedEvent) -> None:
        self.went_live += event.to_stage is StrategyLifecycle.LIVE

    async def on_evaluation_completed(self, event: EvaluationCompletedEvent) -> None:
        if event.subject_kind != "STRATEGY" or event.purpose not in _STEPS:
            return
        self.judged += 1
        if event.verdict == "FAIL":
            psr = event.metrics.get("psr", 0.0)
            found = Candidate(event.subject_id, event.purpose.value, event.reasons, psr, event.session)
            if self.best is None or found.rank > self.best.rank:
                self.best = found

    def stages(self) -> str:
        """The way down, stage by stage."""
        return " -> ".join(
            (
                f"{self.signals:,} wishes to buy",
                f"{self.refused.total():,} refused{_reasons(self.refused)}",
                f"{self.sized:,} sized, {self.dropped.total():,} dropped{_reasons(self.dropped)}",
                f"{self.approved:,} approved, {self.denied.total():,} denied{_reasons(self.denied)}",
                f"{self.filled:,} filled, {self.unfilled.total():,} not{_reasons(self.unfilled)}",
            )
        )

    def why_nothing(self, bars: int) -> str:
        """One sentence: at which stage the wishes of a run without a fill ended."""
        if not bars:
            return "the feed had no usable bar"
        if not self.signals:
            if self.went_live:
                return "strategies were LIVE, and none of them ever wanted to buy"
            if self.best is not None:
                return f"no strategy went LIVE; closest came {self.best}"
            return "no strategy was LIVE, and none was old enough to be judged: give it more sessions"
        if not self.sized:
            where = self.dropped or self.refused
            stage = "got a size" if self.dropped else "was let through"
            return f"none of {self.signals:,} wishes to buy {stage}{_reasons(where)}"
        if not self.approved:
            return f"the risk guard denied all of {self.sized:,} orders{_reasons(self.denied)}"
        return f"none of {self.approved:,} approved orders met a price{_reasons(self.unfilled)}"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        best = self.best
        return {
            "signals": self.signals,
            "refused": dict(sorted(self.refused.items())),
            "dropped": dict(sorted(self.dropped.items())),
            "sized": self.sized,
            "denied": dict(sorted(self.denied.items())),
            "approved": self.approved,
            "filled": self.filled,
            "unfilled": dict(sorted(self.unfilled.items())),
            "went_live": self.went_live,
            "judged": self.judged,
            "best": None
            if best is None
            else {
                "strategy_id": best.strategy_id,
                "gate": best.gate,
                "missed": list(best.missed),
                "psr": best.psr,
                "session": best.session,
            },
        }

    @classmethod
    def load(cls, values: Mapping[str, Any]) -> Funnel:
        """The funnel that `as_dict` described."""
        known: dict[str, Any] = {name: Counter(values[name]) for name in ("refused", "dropped", "denied", "unfilled")}
        known |= {name: values[name] for name in ("signals", "sized", "approved", "filled", "went_live", "judged")}
        best = values["best"]
        found = None if best is None else Candidate(**best | {"missed": tuple(best["missed"])})
        return cls(**known, best=found)

    def _end(self, order_id: str, reason: str) -> None:
        if order_id in self._working:
            self._working.discard(order_id)
            self.unfilled[reason] += 1


def _reasons(counts: Counter[str]) -> str:
    told = ", ".join(
        f"{reason} {count:,}" for reason, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    )
    return f" ({told})" if told else ""
