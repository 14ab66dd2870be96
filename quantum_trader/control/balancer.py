"""Portfolio balancer: gives proposals their size, and trims what has grown beyond the policy.

Proposals in, `orders.sized` out, once per session. Remembers what working entries will still cost.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

from eventbus import EventBus
from quantum_trader.control.sizing import NONE, Allowance, SizingRules, Snapshot, size_entry, trims
from quantum_trader.events import (
    DroppedIntent,
    MarketBarEvent,
    OrderApprovedEvent,
    OrderCancelledEvent,
    OrderExpiredEvent,
    OrderIntent,
    OrderRejectedEvent,
    OrdersProposedEvent,
    OrdersSizedEvent,
    PolicyUpdatedEvent,
    PortfolioUpdatedEvent,
    PredictionMadeEvent,
    SizedOrder,
    TradeExecutedEvent,
)
from quantum_trader.execution.fills import notional
from quantum_trader.instruments import SHARES, Instruments
from quantum_trader.model import OrderKind, Side, money, price, taken
from quantum_trader.snapshot import event_of, event_values, events_of

SOURCE = "portfolio_balancer"
_ADV_BARS = 20


class PortfolioBalancer:
    """Wires sizing to the bus."""

    publishes: ClassVar = (OrdersSizedEvent,)

    def __init__(self, bus: EventBus, rules: SizingRules, instruments: Instruments = SHARES) -> None:
        self._bus = bus
        self._rules = rules
        self._instruments = instruments
        self._policy: PolicyUpdatedEvent | None = None
        self._portfolio: PortfolioUpdatedEvent | None = None
        self._sigma: dict[str, float] = {}
        self._closes: dict[str, float] = {}
        self._volumes: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_ADV_BARS))
        self._working: dict[str, OrderApprovedEvent] = {}
        self._leaves: dict[str, Decimal] = {}
        bus.subscribe(MarketBarEvent, self.on_bar, name="balancer.bar")
        bus.subscribe(PolicyUpdatedEvent, self.on_policy_updated, name="balancer.policy")
        bus.subscribe(PortfolioUpdatedEvent, self.on_portfolio_updated, name="balancer.portfolio")
        bus.subscribe(PredictionMadeEvent, self.on_prediction_made, name="balancer.prediction")
        bus.subscribe(OrdersProposedEvent, self.on_orders_proposed, name="balancer.proposed")
        bus.subscribe(OrderApprovedEvent, self.on_order_approved, name="balancer.approved")
        bus.subscribe(TradeExecutedEvent, self.on_trade_executed, name="balancer.trade")
        for ended in (OrderRejectedEvent, OrderCancelledEvent, OrderExpiredEvent):
            bus.subscribe(ended, self.on_order_ended, name=f"balancer.{ended.type}")

    @property
    def policy(self) -> PolicyUpdatedEvent | None:
        """The policy it goes by."""
        return self._policy

    async def on_bar(self, event: MarketBarEvent) -> None:
        self._closes[event.symbol] = event.close
        self._volumes[event.symbol].append(event.volume)

    async def on_policy_updated(self, event: PolicyUpdatedEvent) -> None:
        self._policy = event

    async def on_portfolio_updated(self, event: PortfolioUpdatedEvent) -> None:
        self._portfolio = event

    async def on_prediction_made(self, event: PredictionMadeEvent) -> None:
        self._sigma = {item.symbol: item.sigma_1d for item in event.items}

    async def on_order_approved(self, event: OrderApprovedEvent) -> None:
        self._working[event.order_id] = event
        self._leaves[event.order_id] = event.qty

    async def on_trade_executed(self, event: TradeExecutedEvent) -> None:
        if event.order_id in self._working:
            self._leaves[event.order_id] = event.leaves_qty
            if not event.leaves_qty:
                self._forget(event.order_id)

    async def on_order_ended(self, event: OrderRejectedEvent | OrderCancelledEvent | OrderExpiredEvent) -> None:
        self._forget(event.order_id)

    async def on_orders_proposed(self, event: OrdersProposedEvent) -> None:
        items, dropped = self._size(event)
        await self._bus.publish(
            OrdersSizedEvent(
                session=event.session,
                policy_version=event.policy_version,
                items=tuple(items),
                dropped=tuple(dropped),
                timestamp=event.timestamp,
                source=SOURCE,
            )
        )

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "policy": event_values(self._policy),
            "portfolio": event_values(self._portfolio),
            "sigma": dict(self._sigma),
            "closes": dict(self._closes),
            "volumes": {symbol: list(volumes) for symbol, volumes in self._volumes.items()},
            "working": [event_values(order) for order in self._working.values()],
            "leaves": {order_id: str(leaves) for order_id, leaves in self._leaves.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._policy = event_of(state["policy"])
        self._portfolio = event_of(state["portfolio"])
        self._sigma, self._closes = dict(state["sigma"]), dict(state["closes"])
        self._volumes.clear()
        for symbol, volumes in state["volumes"].items():
            self._volumes[symbol].extend(volumes)
        self._working = {order.order_id: order for order in events_of(state["working"])}
        self._leaves = {order_id: Decimal(leaves) for order_id, leaves in state["leaves"].items()}

    def _forget(self, order_id: str) -> None:
        self._working.pop(order_id, None)
        self._leaves.pop(order_id, None)

    def _size(self, event: OrdersProposedEvent) -> tuple[list[SizedOrder], list[DroppedIntent]]:
        portfolio, policy = self._portfolio, self._policy
        if portfolio is None:
            return [], [_dropped(intent, "NO_PORTFOLIO") for intent in event.items]
        positions = {(line.strategy_id, line.symbol): line.qty for line in portfolio.positions}
        items, dropped = self._exits(event, positions, float(portfolio.equity))
        entries = [intent for intent in event.items if intent.kind is OrderKind.ENTRY]
        if policy is None:
            return items, dropped + [_dropped(intent, "NO_POLICY") for intent in entries]
        if not self._rules.sizing.fixed_qty:
            items += self._trims(event.session, positions, items, policy, float(portfolio.equity))
        allowance = Allowance(policy.max_risk_per_trade, policy.max_positions, policy.gross_limit)
        account = self._snapshot(portfolio)
        for intent in entries:
            if intent.weight is not None and intent.weight < 0.0:
                items.append(self._short(event.session, intent, float(portfolio.equity)))
                continue
            size = size_entry(
                intent.symbol,
                intent.reference_px,
                intent.stop_px,
                account=account,
                allowance=allowance,
                rules=self._rules,
                sigma=self._sigma.get(intent.symbol),
                adv20=self._adv20(intent.symbol),
                instrument=self._instruments.of(intent.symbol),
                weight=intent.weight,
            )
            if not size.qty:
                dropped.append(_dropped(intent, size.limited_by))
                continue
            account.reserve(intent.symbol, float(size.qty) * intent.reference_px, self._rules.cost)
            items.append(_sized(event.session, intent, size.qty, size.limited_by))
        return items, dropped

    def _exits(
        self, event: OrdersProposedEvent, positions: dict[tuple[str, str], Decimal], equity: float
    ) -> tuple[list[SizedOrder], list[DroppedIntent]]:
        items, dropped = [], []
        for intent in event.items:
            if intent.kind is OrderKind.ENTRY:
                continue
            held = positions.get((intent.strategy_id, intent.symbol), NONE)
            if held > 0 and intent.weight is not None:
                qty = taken(held, min(held, self._instruments.of(intent.symbol).floor(_units(intent, equity))))
                if qty:
                    reduction = intent.model_copy(update={"kind": OrderKind.TRIM})
                    items.append(_sized(event.session, reduction, qty, "WEIGHT"))
                else:
                    dropped.append(_dropped(intent, "WEIGHT"))
            elif held > 0:
                items.append(_sized(event.session, intent, held, "POSITION"))
            else:
                dropped.append(_dropped(intent, "NO_POSITION"))
        return items, dropped

    def _short(self, session: int, intent: OrderIntent, equity: float) -> SizedOrder:
        """A sale of what is not held: sized as it was meant, for the risk guard to refuse by name."""
        lot = self._instruments.of(intent.symbol)
        qty = max(lot.floor(-_units(intent, equity)), lot.lot)
        return _sized(session, intent.model_copy(update={"side": Side.SELL}), qty, "WEIGHT")

    def _trims(
        self,
        session: int,
        positions: dict[tuple[str, str], Decimal],
        exits: list[SizedOrder],
        policy: PolicyUpdatedEvent,
        equity: float,
    ) -> list[SizedOrder]:
        """Sales that bring gross exposure back; a position already on its way out is left alone, and left out."""
        leaving = {(order.strategy_id, order.symbol) for order in exits}
        leaving |= {
            (order.strategy_id, order.symbol) for order in self._working.values() if order.kind is not OrderKind.ENTRY
        }
        staying = {pair: qty for pair, qty in positions.items() if pair not in leaving}
        sales = trims(
            staying,
            self._closes,
            equity=equity,
            gross_limit=policy.gross_limit,
            instruments=self._instruments,
        )
        return [
            _sized(
                session,
                OrderIntent(
                    intent_id=f"{session}-{strategy_id}-{symbol}-trim",
                    strategy_id=strategy_id,
                    symbol=symbol,
                    side=Side.SELL,
                    kind=OrderKind.TRIM,
                    reference_px=self._closes[symbol],
                ),
                qty,
                "GROSS",
            )
            for (strategy_id, symbol), qty in sales.items()
        ]

    def _snapshot(self, portfolio: PortfolioUpdatedEvent) -> Snapshot:
        exposure: dict[str, float] = {}
        for line in portfolio.positions:
            exposure[line.symbol] = exposure.get(line.symbol, 0.0) + float(line.qty) * self._closes[line.symbol]
        account = Snapshot(float(portfolio.equity), float(portfolio.cash), exposure)
        for order_id, order in sorted(self._working.items()):
            if order.kind is OrderKind.ENTRY:
                account.reserve(order.symbol, float(self._leaves[order_id]) * order.reference_px, self._rules.cost)
        return account

    def _adv20(self, symbol: str) -> float:
        volumes = self._volumes[symbol]
        return math.fsum(volumes) / len(volumes) if volumes else 0.0


def _units(intent: OrderIntent, equity: float) -> float:
    """What the weight of an intent comes to, in units."""
    return (intent.weight or 0.0) * equity / intent.reference_px


def _dropped(intent: OrderIntent, reason: str) -> DroppedIntent:
    return DroppedIntent(
        intent_id=intent.intent_id, strategy_id=intent.strategy_id, symbol=intent.symbol, reason=reason
    )


def _sized(session: int, intent: OrderIntent, qty: Decimal, limited_by: str) -> SizedOrder:
    reference = price(intent.reference_px)
    at_risk = reference if intent.stop_px is None else price(intent.reference_px - intent.stop_px)
    entry = intent.kind is OrderKind.ENTRY
    return SizedOrder(
        order_id=f"{session}-{intent.strategy_id}-{intent.symbol}-{intent.side}-{1 if intent.kind is not OrderKind.TRIM else 2}",
        intent_id=intent.intent_id,
        strategy_id=intent.strategy_id,
        symbol=intent.symbol,
        side=intent.side,
        kind=intent.kind,
        qty=qty,
        reference_px=intent.reference_px,
        stop_px=intent.stop_px,
        confidence=intent.confidence,
        notional=notional(qty, reference),
        risk=notional(qty, at_risk) if entry else money(0),
        limited_by=limited_by,
    )
