"""Events of orders: from an intent over its size and its checks to fills, and the account they leave."""

from __future__ import annotations

from decimal import Decimal

from eventbus import Event, Kind
from quantum_trader.events.marks import AnySide, Decision, Item, Price, Weight
from quantum_trader.model import Order, OrderKind, Side, Trigger


class OrderIntent(Item):
    """A wish that passed the orchestrator, not sized yet; with a `weight` that fraction of equity is wanted in the end."""

    intent_id: str
    strategy_id: str
    symbol: str
    side: Side
    kind: OrderKind
    reference_px: float
    stop_px: float | None = None
    confidence: float = 0.0
    weight: Weight = None


class RejectedSignal(Item):
    """A signal that became no intent, and why."""

    signal_id: str
    strategy_id: str
    symbol: str
    reason: str


class OrdersProposedEvent(Decision, Event, type="orders.proposed"):
    """Exits first, then entries, best first. `rejected` keeps every signal left out, for people."""

    session: int
    policy_version: int
    items: tuple[OrderIntent, ...] = ()
    rejected: tuple[RejectedSignal, ...] = ()


class SizedOrder(Item):
    """An order with its size. `limited_by` names the term that bound the size, `risk` is what the stop would lose."""

    order_id: str
    intent_id: str
    strategy_id: str
    symbol: str
    side: Side
    kind: OrderKind
    qty: Decimal
    reference_px: float
    stop_px: float | None = None
    confidence: float = 0.0
    notional: Decimal
    risk: Decimal
    limited_by: str = ""

    def order(self, session: int) -> Order:
        """The value that checks and venue work on."""
        return Order(
            self.order_id,
            self.intent_id,
            self.strategy_id,
            self.symbol,
            self.side,
            self.kind,
            self.qty,
            self.reference_px,
            self.stop_px,
            self.confidence,
            session,
        )


class DroppedIntent(Item):
    """An intent too small to be worth an order; the reason is the binding term."""

    intent_id: str
    strategy_id: str
    symbol: str
    reason: str


class OrdersSizedEvent(Decision, Event, type="orders.sized"):
    """What the balancer made of the proposals of a session."""

    session: int
    policy_version: int
    items: tuple[SizedOrder, ...] = ()
    dropped: tuple[DroppedIntent, ...] = ()


class OrderApprovedEvent(Decision, Event, type="order.approved", kind=Kind.EXECUTION, key="symbol"):
    """The risk guard lets an order go to the venue. `warnings` are codes of checks that exits only trip over."""

    order_id: str
    intent_id: str
    strategy_id: str
    symbol: str
    side: Side
    kind: OrderKind
    qty: Decimal
    reference_px: float
    stop_px: float | None = None
    confidence: float = 0.0
    session: int
    policy_version: int = 0
    warnings: tuple[str, ...] = ()

    def order(self) -> Order:
        """The value that the venue works on."""
        return Order(
            self.order_id,
            self.intent_id,
            self.strategy_id,
            self.symbol,
            self.side,
            self.kind,
            self.qty,
            self.reference_px,
            self.stop_px,
            self.confidence,
            self.session,
        )


# What ends or refuses an order must pass a halted bus, so these are ordinary events; only what moves money is not.


class OrderDeniedEvent(Decision, Event, type="order.denied", key="symbol"):
    """The risk guard refused an order: the code of the check, what it allows, what it found."""

    order_id: str
    strategy_id: str
    symbol: str
    kind: OrderKind
    code: str
    limit: float | str
    value: float | str
    session: int


class OrderAcceptedEvent(Decision, Event, type="order.accepted", kind=Kind.EXECUTION, key="symbol"):
    """The order works at the venue until the end of `expires_session`."""

    order_id: str
    strategy_id: str
    symbol: str
    kind: OrderKind
    qty: Decimal
    session: int
    expires_session: int


class OrderRejectedEvent(Decision, Event, type="order.rejected", key="symbol"):
    """The venue refused an approved order."""

    order_id: str
    strategy_id: str
    symbol: str
    kind: OrderKind
    code: str
    session: int


class OrderCancelledEvent(Decision, Event, type="order.cancelled", key="symbol"):
    """The order ended with `remaining_qty` unfilled; what it had filled stays."""

    order_id: str
    strategy_id: str
    symbol: str
    kind: OrderKind
    remaining_qty: Decimal
    reason: str
    session: int


class OrderExpiredEvent(Decision, Event, type="order.expired", key="symbol"):
    """The order's time ran out with `remaining_qty` unfilled; what it had filled stays."""

    order_id: str
    strategy_id: str
    symbol: str
    kind: OrderKind
    remaining_qty: Decimal
    reason: str
    session: int


class TradeExecutedEvent(Decision, Event, type="trade.executed", kind=Kind.EXECUTION, key="symbol"):
    """A fill. Price and fee in account currency, size in whole lots, slippage and shortfall in basis points.

    `shortfall_bp` is the cost against the price decided on, positive when it hurt; `leaves_qty` what the order has left;
    `stop_px` the protective stop on the position after the fill; `pnl` the profit realised, where a venue says so: the trader
    tells it of the account, in `PortfolioUpdatedEvent.realised`.
    """

    order_id: str
    symbol: str
    side: AnySide
    size: Decimal
    price: Price
    strategy_id: str
    model: str | None = None
    pnl: Decimal | None = None
    fill_id: str = ""
    fee: Decimal = Decimal(0)
    slippage_bp: float = 0.0
    shortfall_bp: float = 0.0
    trigger: Trigger = Trigger.OPEN
    leaves_qty: Decimal = Decimal(0)
    stop_px: float | None = None
    session: int = 0


class PositionItem(Item):
    """One position at the end of a session. `stale`: the symbol had no bar, `last` is the close before."""

    strategy_id: str
    symbol: str
    qty: Decimal
    avg_price: Price
    last: Price
    stop_px: float | None
    unrealised: Decimal
    stale: bool


class PortfolioUpdatedEvent(Decision, Event, type="portfolio.updated"):
    """The account after a session. `drawdown` is a positive fraction of the 252-session peak, `realised` before fees."""

    session: int
    cash: Decimal
    equity: Decimal
    gross: Decimal
    realised: Decimal
    fees: Decimal
    drawdown: float
    day_return: float
    positions: tuple[PositionItem, ...] = ()
    invariants_ok: bool = True
    breaches: tuple[str, ...] = ()
