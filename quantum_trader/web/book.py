"""Book: what is held, what works at the venue, what was filled and what was refused, for whoever looks at it."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, Final

from eventbus import Event
from quantum_trader.events import (
    OrderAcceptedEvent,
    OrderApprovedEvent,
    OrderCancelledEvent,
    OrderDeniedEvent,
    OrderExpiredEvent,
    OrderRejectedEvent,
    OrdersProposedEvent,
    OrdersSizedEvent,
    PortfolioUpdatedEvent,
    PromotionRefusedEvent,
    TradeExecutedEvent,
)
from quantum_trader.model import MONEY, money
from quantum_trader.monitoring.round_trips import RoundTrips
from quantum_trader.web.folding import Hearing

NEWEST: Final = 200
"""Lines of anything that are shown."""


class Book:
    """Positions, orders and fills. Money as text, exact."""

    def __init__(self) -> None:
        self._portfolio: PortfolioUpdatedEvent | None = None
        self._working: dict[str, dict[str, Any]] = {}  # by order id
        self._fills: deque[dict[str, Any]] = deque(maxlen=NEWEST)
        self._ended: deque[dict[str, Any]] = deque(maxlen=NEWEST)
        self._trips = RoundTrips()
        self._filled = 0
        self._denied: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._lines: deque[dict[str, Any]] = deque(maxlen=NEWEST)
        self._sized = 0
        self._approved = 0

    def hears(self) -> Hearing:
        return {
            PortfolioUpdatedEvent: self._valued,
            OrderApprovedEvent: self._was_approved,
            OrderAcceptedEvent: self._was_accepted,
            OrderCancelledEvent: self._over,
            OrderExpiredEvent: self._over,
            OrderRejectedEvent: self._over,
            OrderDeniedEvent: self._was_denied,
            PromotionRefusedEvent: self._was_denied,
            TradeExecutedEvent: self._was_filled,
            OrdersProposedEvent: self._proposed,
            OrdersSizedEvent: self._was_sized,
        }

    @property
    def portfolio(self) -> PortfolioUpdatedEvent | None:
        """The newest statement of the account."""
        return self._portfolio

    def positions(self) -> dict[str, Any]:
        """What is held, the largest first, and the account."""
        account = self._portfolio
        if account is None:
            return {"rows": [], "cash": None, "gross": None, "unrealised": None}
        rows = [
            {
                "strategy": item.strategy_id,
                "symbol": item.symbol,
                "qty": f"{item.qty:f}",
                "avg_price": f"{item.avg_price:.2f}",
                "last": f"{item.last:.2f}",
                "stop": item.stop_px,
                "value": f"{item.qty * item.last:.2f}",
                "unrealised": f"{item.unrealised:.2f}",
                "stale": item.stale,
            }
            for item in sorted(account.positions, key=lambda item: -abs(item.qty * item.last))
        ]
        return {
            "rows": rows[:NEWEST],
            "cash": f"{account.cash:.2f}",
            "gross": f"{account.gross:.2f}",
            "equity": f"{account.equity:.2f}",
            "realised": f"{account.realised:.2f}",
            "fees": f"{account.fees:.2f}",
            "day_return": account.day_return,
        }

    def orders(self) -> dict[str, Any]:
        """What works at the venue, and the newest fills and ends, newest first."""
        return {
            "working": list(self._working.values())[-NEWEST:],
            "fills": list(reversed(self._fills)),
            "ended": list(reversed(self._ended))[:50],
            "filled": self._filled,
        }

    def denials(self) -> dict[str, Any]:
        """How many wishes ended where, by reason, and the newest denials."""
        return {
            "denied": dict(self._denied.most_common()),
            "refused": dict(self._refused.most_common()),
            "dropped": dict(self._dropped.most_common()),
            "sized": self._sized,
            "approved": self._approved,
            "filled": self._filled,
            "lines": list(reversed(self._lines))[:100],
        }

    def _valued(self, event: PortfolioUpdatedEvent) -> None:
        self._portfolio = event

    def _was_approved(self, event: OrderApprovedEvent) -> None:
        self._approved += 1
        self._working[event.order_id] = {
            **_head(event),
            "order": event.order_id,
            "side": event.side.value,
            "kind": event.kind.value,
            "qty": f"{event.qty:f}",
            "filled": "0",
            "state": "APPROVED",
            "expires": None,
        }

    def _was_accepted(self, event: OrderAcceptedEvent) -> None:
        if event.order_id in self._working:
            self._working[event.order_id] |= {"state": "ACCEPTED", "expires": event.expires_session}

    def _was_filled(self, event: TradeExecutedEvent) -> None:
        self._filled += 1
        value = money(MONEY.multiply(event.price, event.size))
        profit = self._trips.take(event.strategy_id, event.symbol, event.side, event.size, value, event.fee)
        self._fills.append(
            {
                **_head(event),
                "order": event.order_id,
                "side": event.side.value,
                "qty": f"{event.size:f}",
                "price": f"{event.price:.2f}",
                "fee": f"{event.fee:.2f}",
                "trigger": event.trigger.value,
                "pnl": None if profit is None else f"{profit:.2f}",
                "shortfall_bp": round(event.shortfall_bp, 1),
            }
        )
        order = self._working.get(event.order_id)
        if order is not None:
            if event.leaves_qty:
                order |= {"state": "PARTLY", "filled": f"{event.size:f}"}
            else:
                del self._working[event.order_id]

    def _over(self, event: Event) -> None:
        order = self._working.pop(event["order_id"], None) or _head(event)
        reason = event.get("reason") or event.get("code") or ""
        self._ended.append({**order, "event_id": event.event_id, "state": event.type.partition(".")[2], "why": reason})

    def _was_denied(self, event: OrderDeniedEvent | PromotionRefusedEvent) -> None:
        self._denied[event.code] += 1
        line = {**_head(event), "code": event.code}
        if isinstance(event, OrderDeniedEvent):
            line |= {"limit": _short(event.limit), "value": _short(event.value), "kind": event.kind.value}
        self._lines.append(line)

    def _proposed(self, event: OrdersProposedEvent) -> None:
        self._refused.update(item.reason for item in event.rejected)

    def _was_sized(self, event: OrdersSizedEvent) -> None:
        self._sized += len(event.items)
        self._dropped.update(item.reason for item in event.dropped)


def _head(event: Event) -> dict[str, Any]:
    """Who and what, and the event to ask about why."""
    return {
        "event_id": event.event_id,
        "date": event.timestamp.date().isoformat(),
        "session": event["session"],
        "symbol": event.get("symbol", ""),
        "strategy": event["strategy_id"],
    }


def _short(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value
