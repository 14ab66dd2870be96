"""Symbol book: what the paper venue holds for one symbol, its working orders and its positions with their stops.

It keeps quantities and order states consistent; it prices nothing and decides nothing.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from quantum_trader.execution.order_state import Step, WorkingOrder
from quantum_trader.execution.reports import Cancelled, CancelReason, Expired
from quantum_trader.model import Order, OrderKind, added, taken


@dataclass(slots=True)
class Holding:
    """A position at the venue. `entry_id` is the entry that last added to it and names what protects it."""

    qty: Decimal
    entry_id: str
    stop: float | None
    stopped: bool = False  # its stop was hit: what is left goes at the next open
    stop_fills: int = 0


@dataclass(slots=True)
class SymbolBook:
    """What the venue knows of one symbol: orders that work, what strategies hold, and the last session that had a bar."""

    working: list[WorkingOrder] = field(default_factory=list)  # oldest first, see `age`
    holdings: dict[str, Holding] = field(default_factory=dict)  # by strategy
    last_session: int = -1
    last_close: float = 0.0

    @property
    def is_idle(self) -> bool:
        return not self.working and not self.holdings

    def find(self, strategy_id: str, kind: OrderKind) -> WorkingOrder | None:
        """The working order of this kind; there is at most one."""
        for working in self.working:
            if working.order.strategy_id == strategy_id and working.order.kind is kind:
                return working
        return None

    def admit(self, working: WorkingOrder) -> None:
        working.apply(Step.ACCEPT, f"{working.order.order_id}/accept")
        insort(self.working, working, key=age)

    def fill(self, working: WorkingOrder, qty: Decimal) -> tuple[str, Decimal]:
        """Give `qty` to an order and to its position; returns the fill id and what the order has left."""
        order = working.order
        fill_id = f"{order.order_id}#{working.fills + 1}"
        leaves = taken(working.leaves, qty)
        working.apply(Step.FILL_PART if leaves else Step.FILL_REST, fill_id, qty=qty)
        if not leaves:
            self.working.remove(working)
        if order.kind is OrderKind.ENTRY:
            self._add(order, qty)
        else:
            self.reduce(order.strategy_id, qty)
        return fill_id, leaves

    def reduce(self, strategy_id: str, qty: Decimal) -> None:
        holding = self.holdings[strategy_id]
        holding.qty = taken(holding.qty, qty)
        if not holding.qty:
            del self.holdings[strategy_id]

    def stop(self, strategy_id: str) -> float | None:
        """The level that protects the position; None without one."""
        holding = self.holdings.get(strategy_id)
        return None if holding is None else holding.stop

    def cancel(self, working: WorkingOrder, reason: CancelReason) -> Cancelled:
        remaining = working.leaves
        working.apply(Step.CANCEL, f"{working.order.order_id}/cancel")
        self.working.remove(working)
        return Cancelled(working.order, remaining, reason)

    def expire(self, working: WorkingOrder) -> Expired:
        remaining = working.leaves
        working.apply(Step.EXPIRE, f"{working.order.order_id}/expire")
        self.working.remove(working)
        return Expired(working.order, remaining)

    def _add(self, order: Order, qty: Decimal) -> None:
        holding = self.holdings.setdefault(order.strategy_id, Holding(Decimal(0), order.order_id, order.stop))
        holding.qty = added(holding.qty, qty)
        holding.entry_id = order.order_id
        if order.stop is not None:
            # Adding to a position may tighten its stop, never loosen it.
            holding.stop = order.stop if holding.stop is None else max(holding.stop, order.stop)

    def export(self) -> dict[str, Any]:
        """Everything as plain values (JSON types), for a checkpoint."""
        return {
            "working": [working.export() for working in self.working],
            "holdings": {
                strategy_id: asdict(holding) | {"qty": str(holding.qty)}
                for strategy_id, holding in sorted(self.holdings.items())
            },
            "last_session": self.last_session,
            "last_close": self.last_close,
        }

    @classmethod
    def load(cls, exported: Mapping[str, Any]) -> SymbolBook:
        """The book that `export` described."""
        return cls(
            working=[WorkingOrder.load(working) for working in exported["working"]],
            holdings={
                strategy_id: Holding(**holding | {"qty": Decimal(holding["qty"])})
                for strategy_id, holding in exported["holdings"].items()
            },
            last_session=exported["last_session"],
            last_close=exported["last_close"],
        )


def age(working: WorkingOrder) -> tuple[int, str]:
    """Sort key of working orders: the session they were decided in, then their id."""
    return working.order.session, working.order.order_id
