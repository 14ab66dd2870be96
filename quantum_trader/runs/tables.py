"""Tables: a run as columns of values, for spreadsheets, notebooks and files: its fills, its equity, its orders, its decisions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, Final

from eventbus import Event
from quantum_trader.events import (
    OrderApprovedEvent,
    OrderCancelledEvent,
    OrderDeniedEvent,
    OrderExpiredEvent,
    OrderRejectedEvent,
    OrdersSizedEvent,
    PortfolioUpdatedEvent,
    TradeExecutedEvent,
    is_decision,
)
from quantum_trader.monitoring.analytics import NoRun
from quantum_trader.runs.folder import RunFolder
from quantum_trader.runs.history import events, opened

Columns = dict[str, list[Any]]
"""A table: its columns by name, all of one length. Money and prices are floats, times are aware UTC."""


def trades(folder: RunFolder) -> Columns:
    """A row for each fill. Raises `NoRun`."""
    with opened(folder) as reader:
        return _columns(_FILL, [_fill(event) for event in events(reader, TradeExecutedEvent)])


def equity(folder: RunFolder) -> Columns:
    """A row for each session: the account at its end, and buy and hold. Raises `NoRun`."""
    if not folder.analytics.is_file():
        raise NoRun(folder.path, "no run is recorded there")
    with closing(sqlite3.connect(f"{folder.analytics.resolve().as_uri()}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT benchmark, mode, portfolio FROM equity ORDER BY session").fetchall()
    return _columns(_EQUITY, [_statement(*row) for row in rows])


def orders(folder: RunFolder) -> Columns:
    """A row for each order that got a size: what it was, what the checks said, what became of it. Raises `NoRun`."""
    found: dict[str, dict[str, Any]] = {}
    with opened(folder) as reader:
        for event in events(reader, OrdersSizedEvent, *_FATES, TradeExecutedEvent):
            match event:
                case OrdersSizedEvent():
                    for item in event.items:
                        found[item.order_id] = _order(event, item)
                case TradeExecutedEvent() if event.order_id in found:
                    row = found[event.order_id]
                    row["filled"] += float(event.size)
                    row["status"] = "PARTLY_FILLED" if event.leaves_qty else "FILLED"
                case OrderApprovedEvent() | OrderDeniedEvent() | OrderRejectedEvent():
                    _judged(found, event)
                case OrderCancelledEvent() | OrderExpiredEvent():
                    row = found.get(event.order_id, {})
                    row["status"], row["reason"] = _FATES[type(event)], event.reason
    return _columns(_ORDER, list(found.values()))


def decisions(folder: RunFolder) -> Columns:
    """A row for each decision event, its payload as JSON. Raises `NoRun`."""
    with opened(folder) as reader:
        rows = [
            {
                "time": event.timestamp,
                "session": event.get("session"),
                "type": event.type,
                "source": event.source,
                "event_id": event.event_id,
                "payload": json.dumps(event.model_dump(mode="json", exclude=_HEADER), sort_keys=True),
            }
            for event in events(reader)
            if is_decision(event)
        ]
    return _columns(("time", "session", "type", "source", "event_id", "payload"), rows)


TABLES: Final[Mapping[str, Callable[[RunFolder], Columns]]] = {
    "trades": trades,
    "equity": equity,
    "orders": orders,
    "decisions": decisions,
}

_HEADER: Final = {"event_id", "timestamp", "source", "correlation_id", "causation_id", "metadata"}
_FATES: Final[Mapping[type[Event], str]] = {
    OrderApprovedEvent: "APPROVED",
    OrderDeniedEvent: "DENIED",
    OrderRejectedEvent: "REJECTED",
    OrderCancelledEvent: "CANCELLED",
    OrderExpiredEvent: "EXPIRED",
}
_FILL: Final = (
    *("time", "session", "strategy", "symbol", "side", "size", "price", "fee"),
    *("trigger", "slippage_bp", "shortfall_bp", "order_id", "fill_id"),
)
_EQUITY: Final = (
    "time",
    "session",
    "equity",
    "cash",
    "gross",
    "benchmark",
    "drawdown",
    "day_return",
    "positions",
    "mode",
)
_ORDER: Final = (
    *("time", "session", "order_id", "strategy", "symbol", "side", "kind", "size", "reference", "stop"),
    *("limited_by", "status", "reason", "filled"),
)


def _columns(names: tuple[str, ...], rows: list[dict[str, Any]]) -> Columns:
    return {name: [row[name] for row in rows] for name in names}


def _fill(event: TradeExecutedEvent) -> dict[str, Any]:
    return {
        "time": event.timestamp,
        "session": event.session,
        "strategy": event.strategy_id,
        "symbol": event.symbol,
        "side": event.side.value,
        "size": float(event.size),
        "price": float(event.price),
        "fee": float(event.fee),
        "trigger": event.trigger.value,
        "slippage_bp": event.slippage_bp,
        "shortfall_bp": event.shortfall_bp,
        "order_id": event.order_id,
        "fill_id": event.fill_id,
    }


def _statement(benchmark: float, mode: str | None, portfolio: str) -> dict[str, Any]:
    event = PortfolioUpdatedEvent.model_validate_json(portfolio)
    return {
        "time": event.timestamp,
        "session": event.session,
        "equity": float(event.equity),
        "cash": float(event.cash),
        "gross": float(event.gross),
        "benchmark": benchmark,
        "drawdown": event.drawdown,
        "day_return": event.day_return,
        "positions": len(event.positions),
        "mode": mode,
    }


def _order(event: OrdersSizedEvent, item: Any) -> dict[str, Any]:
    return {
        "time": event.timestamp,
        "session": event.session,
        "order_id": item.order_id,
        "strategy": item.strategy_id,
        "symbol": item.symbol,
        "side": item.side.value,
        "kind": item.kind.value,
        "size": float(item.qty),
        "reference": item.reference_px,
        "stop": item.stop_px,
        "limited_by": item.limited_by,
        "status": "SIZED",
        "reason": "",
        "filled": 0.0,
    }


def _judged(
    found: dict[str, dict[str, Any]], event: OrderApprovedEvent | OrderDeniedEvent | OrderRejectedEvent
) -> None:
    row = found.get(event.order_id, {})
    row["status"] = _FATES[type(event)]
    row["reason"] = "" if isinstance(event, OrderApprovedEvent) else event.code
