"""Journeys: the way of each position from its first fill to its last, with the reason it was entered for and left for."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from quantum_trader.model import MONEY, Side, added, taken
from quantum_trader.monitoring.record import TradeLine


@dataclass(slots=True)
class Journey:
    """One position of one strategy in one symbol. Money in account currency, after fees; `left` is "" while it is held."""

    strategy: str
    symbol: str
    entered: str
    left: str = ""
    units: float = 0.0  # bought in all
    paid: float = 0.0  # a unit, on average
    received: float | None = None
    result: float = 0.0
    rise: float = 0.0  # the result as a fraction of what was paid
    days: int = 0
    trigger: str = ""  # of the last fill
    fills: int = 0
    why: dict[str, Any] = field(default_factory=dict)
    order: str = ""  # of the first fill, to ask qt why about

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def journeys(db: sqlite3.Connection, trades: Sequence[TradeLine]) -> Iterator[Journey]:
    """Every position there was, by the date of its first fill; those still open last count what was sold of them."""
    why = _reasons(db)
    under_way: dict[tuple[str, str], list[TradeLine]] = {}
    held: dict[tuple[str, str], Decimal] = {}
    done = []
    for trade in trades:
        pair = (trade.strategy_id, trade.symbol)
        under_way.setdefault(pair, []).append(trade)
        held[pair] = (added if trade.side is Side.BUY else taken)(held.get(pair, Decimal(0)), trade.size)
        if not held[pair]:
            done.append(_journey(under_way.pop(pair), why, is_closed=True))
    done += [_journey(fills, why, is_closed=False) for fills in under_way.values()]
    yield from sorted(done, key=lambda one: (one.entered, one.symbol, one.strategy))


def _journey(fills: Sequence[TradeLine], why: dict[str, dict[str, Any]], *, is_closed: bool) -> Journey:
    bought = [fill for fill in fills if fill.side is Side.BUY]
    sold = [fill for fill in fills if fill.side is Side.SELL]
    first, last = fills[0], fills[-1]
    outlay = sum((fill.value for fill in bought), Decimal(0))
    income = sum((fill.value for fill in sold), Decimal(0))
    fees = sum((fill.fee for fill in fills), Decimal(0))
    units, back = sum((f.size for f in bought), Decimal(0)), sum((f.size for f in sold), Decimal(0))
    result = MONEY.subtract(MONEY.subtract(income, outlay), fees)
    return Journey(
        strategy=first.strategy_id,
        symbol=first.symbol,
        entered=first.timestamp.date().isoformat(),
        left=last.timestamp.date().isoformat() if is_closed else "",
        units=float(units),
        paid=float(outlay / units) if units else 0.0,
        received=float(income / back) if back else None,
        result=float(result) if is_closed else 0.0,
        rise=float(result / outlay) if is_closed and outlay else 0.0,
        days=(last.timestamp - first.timestamp).days,
        trigger=last.trigger.value if is_closed else "",
        fills=len(fills),
        why=why.get(first.order_id, {})
        | ({"left for": why.get(last.order_id, {}).get("reason", "")} if is_closed else {}),
        order=first.order_id,
    )


def _reasons(db: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    """What each order was decided on: the words of its signal, its confidence, what bound its size."""
    signals = {
        signal_id: (reason, confidence)
        for signal_id, reason, confidence in db.execute("SELECT signal_id, reason, confidence FROM signals")
    }
    found: dict[str, dict[str, Any]] = {}
    for (text,) in db.execute(
        "SELECT event FROM events WHERE type = 'orders.sized' AND json_array_length(event, '$.items')"
    ):
        for item in json.loads(text)["items"]:
            reason, confidence = signals.get(item["intent_id"], ("", None))
            found[item["order_id"]] = {
                "reason": reason,
                "confidence": confidence,
                "limited by": item["limited_by"],
                "reference": item["reference_px"],
                "stop": item["stop_px"],
                "risk": item["risk"],
            }
    return found
