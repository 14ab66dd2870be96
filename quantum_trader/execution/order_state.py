"""Order states: the one table that says what may happen to an order.

Whoever follows orders (the venue, the order manager, a dashboard) moves a `WorkingOrder` through `TRANSITIONS`; an
event that the table does not allow raises and changes nothing. Knows no venue and no money.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from quantum_trader.model import Order, added, taken
from quantum_trader.snapshot import order_of, order_values


class OrderState(StrEnum):
    """How far an order has come. DENIED by the guard, REJECTED by the venue; nothing follows either, nor the last three."""

    NEW = "NEW"
    DENIED = "DENIED"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    ACCEPTED = "ACCEPTED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class Step(StrEnum):
    """What can happen to an order. FILL_PART leaves a remainder, FILL_REST does not."""

    DENY = "DENY"
    APPROVE = "APPROVE"
    REJECT = "REJECT"
    ACCEPT = "ACCEPT"
    FILL_PART = "FILL_PART"
    FILL_REST = "FILL_REST"
    CANCEL = "CANCEL"
    EXPIRE = "EXPIRE"


TERMINAL: Final = frozenset(
    {OrderState.DENIED, OrderState.REJECTED, OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED}
)

TRANSITIONS: Final[Mapping[tuple[OrderState, Step], OrderState]] = MappingProxyType(
    {
        (OrderState.NEW, Step.DENY): OrderState.DENIED,
        (OrderState.NEW, Step.APPROVE): OrderState.APPROVED,
        (OrderState.APPROVED, Step.REJECT): OrderState.REJECTED,
        (OrderState.APPROVED, Step.ACCEPT): OrderState.ACCEPTED,
        (OrderState.APPROVED, Step.CANCEL): OrderState.CANCELLED,
        (OrderState.ACCEPTED, Step.FILL_PART): OrderState.PARTIALLY_FILLED,
        (OrderState.ACCEPTED, Step.FILL_REST): OrderState.FILLED,
        (OrderState.ACCEPTED, Step.CANCEL): OrderState.CANCELLED,
        (OrderState.ACCEPTED, Step.EXPIRE): OrderState.EXPIRED,
        (OrderState.PARTIALLY_FILLED, Step.FILL_PART): OrderState.PARTIALLY_FILLED,
        (OrderState.PARTIALLY_FILLED, Step.FILL_REST): OrderState.FILLED,
        (OrderState.PARTIALLY_FILLED, Step.CANCEL): OrderState.CANCELLED,
        (OrderState.PARTIALLY_FILLED, Step.EXPIRE): OrderState.EXPIRED,
    }
)


class IllegalTransition(Exception):
    """An event its order does not allow in this state. Nothing changed; dead-letter the event and find its source."""

    def __init__(self, order_id: str, state: OrderState, step: Step, reason: str) -> None:
        super().__init__(f"order {order_id}: {step} in state {state}: {reason}")
        self.order_id = order_id
        self.state = state
        self.step = step
        self.reason = reason


@dataclass(slots=True)
class WorkingOrder:
    """An order on its way. `filled` never decreases; `expires_session` is the last session it works in."""

    order: Order
    state: OrderState = OrderState.NEW
    filled: Decimal = Decimal(0)
    expires_session: int | None = None
    applied: dict[str, tuple[Step, Decimal]] = field(default_factory=dict)  # by event id, to know a duplicate

    @property
    def is_terminal(self) -> bool:
        return self.state in TERMINAL

    @property
    def leaves(self) -> Decimal:
        """What is still to be filled; 0 once the order has ended, however it ended."""
        return Decimal(0) if self.is_terminal else taken(self.order.qty, self.filled)

    def is_due(self, session: int) -> bool:
        """True when the end of `session` is the end of its time."""
        return self.expires_session is not None and self.expires_session <= session

    @property
    def fills(self) -> int:
        """How many fills it has had."""
        return sum(step in {Step.FILL_PART, Step.FILL_REST} for step, _ in self.applied.values())

    def apply(self, step: Step, event_id: str, *, qty: Decimal = Decimal(0)) -> bool:
        """Take one event; `qty` is the quantity of a fill. False when this very event was taken before.

        Raises `IllegalTransition`, with nothing changed, when the table has no such transition, when a fill does not
        fit what the order leaves, or when `event_id` comes back with another meaning.
        """
        known = self.applied.get(event_id)
        if known == (step, qty):
            return False
        if known is not None:
            raise self._illegal(step, f"event {event_id} was already taken as {known[0]} of {known[1]}")
        target = TRANSITIONS.get((self.state, step))
        if target is None:
            raise self._illegal(step, "no such transition")
        if not self._fits(step, qty):
            raise self._illegal(step, f"a quantity of {qty} does not fit the {self.leaves} left")
        self.applied[event_id] = (step, qty)
        self.state = target
        self.filled = added(self.filled, qty)
        return True

    def _fits(self, step: Step, qty: Decimal) -> bool:
        match step:
            case Step.FILL_PART:
                return 0 < qty < self.leaves
            case Step.FILL_REST:
                return 0 < qty == self.leaves
            case _:
                return qty == 0

    def _illegal(self, step: Step, reason: str) -> IllegalTransition:
        return IllegalTransition(self.order.order_id, self.state, step, reason)

    def export(self) -> dict[str, Any]:
        """Everything as plain values (JSON types), for a checkpoint."""
        return {
            "order": order_values(self.order),
            "state": self.state.value,
            "filled": str(self.filled),
            "expires_session": self.expires_session,
            "applied": {event_id: [step.value, str(qty)] for event_id, (step, qty) in self.applied.items()},
        }

    @classmethod
    def load(cls, exported: Mapping[str, Any]) -> WorkingOrder:
        """The order that `export` described."""
        return cls(
            order=order_of(exported["order"]),
            state=OrderState(exported["state"]),
            filled=Decimal(exported["filled"]),
            expires_session=exported["expires_session"],
            applied={event_id: (Step(step), Decimal(qty)) for event_id, (step, qty) in exported["applied"].items()},
        )
