"""Outcome: how a delivery ended, as a value. Receipts give it, journals keep it, statistics count it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from eventbus.wording import shown


class Status(StrEnum):
    """How a delivery ended: exactly one of these."""

    SUCCEEDED = "succeeded"
    DEAD_LETTERED = "dead_lettered"
    DROPPED = "dropped"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Outcome(NamedTuple):
    """How one delivery ended. `queued_s` is the wait from acceptance to the first attempt, `ran_s` the time of the last attempt;
    of events that were handled in a row, both may be those of the row. It can be printed whatever `result` and `error` do.
    """

    subscription: str
    status: Status
    result: Any = None
    error: BaseException | None = None
    attempts: int = 0
    queued_s: float = 0.0
    ran_s: float = 0.0

    def __repr__(self) -> str:
        values = zip(self._fields, self, strict=True)
        return f"Outcome({', '.join(f'{name}={shown(value)}' for name, value in values)})"


Outcomes = tuple[Outcome, ...]
Alike = tuple[int, int, Outcomes]
"""From one place up to another everything came to the same: to that."""
NONE_ALIKE: Final[Alike] = (0, 0, ())
PENDING: Final[Any] = object()  # stands where a delivery has no outcome yet
ABSENT: Final[Any] = object()  # stands where an event does not go to a subscription


@dataclass(frozen=True, slots=True)
class ShutdownReport:
    """How the bus ended: was everything pending handled, which attempts were abandoned, how many deliveries are left undone."""

    drained: bool
    abandoned: tuple[str, ...]
    left: int
    duration_s: float
