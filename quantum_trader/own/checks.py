"""Checks: what a user's own pre-trade check is given and what it answers, as one of the risk guard's.

It is asked after the shipped ones, about entries only: nothing that a user brings may keep a position from being left. It fails
closed: an exception, or an answer that is none, denies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from quantum_trader.model import Order


@dataclass(frozen=True, slots=True)
class Denial:
    """Why an order may not go: a short name in capitals, and what was found against what is allowed."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RiskView:
    """The account as the risk guard knows it. Money in account currency; positions (units) and last closes by symbol."""

    equity: Decimal
    cash: Decimal
    positions: Mapping[str, Decimal]
    prices: Mapping[str, float]
    session: int


Check = Callable[[Order, RiskView], Denial | None]
"""A pure function: the order and the account in, None when the order may go."""


class NoAnswer(TypeError):
    """A check gave back something that is neither None nor a Denial. Return one of the two."""

    def __init__(self, name: str, answer: object) -> None:
        super().__init__(f"{name} returned {type(answer).__name__}; return Denial(reason, detail) or None")


def asked(name: str, check: Check, order: Order, view: RiskView) -> Denial | None:
    """The answer of a check. Raises `NoAnswer`, and whatever the check raises."""
    answer: object = check(order, view)
    if answer is None or isinstance(answer, Denial):
        return answer
    raise NoAnswer(name, answer)
