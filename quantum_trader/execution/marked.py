"""Marked book: what one strategy earned, session by session and position by position, from its fills and the closes.

The one account of profit for whoever asks: a trial, a virtual account, the live fills. A position counts in every window
that it overlaps, with what its worth changed between the marks at both ends. Knows no cost, no order and no bar; money in
floats, for nothing is owed here.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from quantum_trader.model import added

KEPT: Final = 800  # sessions at least; the longest window that a gate looks at is 504

CloseAt = Callable[[str, int], float]
"""The last close of a symbol at or before a session."""


@dataclass(slots=True)
class Position:
    """From flat to flat, or to now: its fills as (session, quantity bought, cash it brought after costs)."""

    symbol: str
    fills: list[tuple[int, Decimal, float]] = field(default_factory=list)
    qty: Decimal = Decimal(0)
    close: float = 0.0  # its last mark

    @property
    def opened(self) -> int:
        return self.fills[0][0]

    def profit(self, session: int, close_at: CloseAt) -> float:
        """Through `session`, what is held marked at its close; 0 before it was opened."""
        qty, cash = Decimal(0), 0.0
        for filled, shares, brought in self.fills:
            if filled > session:
                break
            qty = added(qty, shares)
            cash += brought
        return cash + float(qty) * close_at(self.symbol, session) if qty else cash


class MarkedBook:
    """Tell it the fills of a session, then close the session."""

    def __init__(self) -> None:
        self._cash = 0.0  # what all fills brought
        self._held: dict[str, Position] = {}  # in sorted order: sums do not depend on what was bought first
        self._over: deque[Position] = deque()
        self._sessions: list[int] = []
        self._worth = array("d")  # profit since the beginning, at each close
        self._work = array("d")  # capital at work in each session
        self._base = 0.0  # the worth before the first session that is kept
        self._gross = 0.0  # value held at the last close
        self._bought = 0.0  # in the session that goes on

    def fill(self, session: int, symbol: str, shares: Decimal, cash: float) -> None:
        """`shares` were bought (sold if negative); it brought `cash` (cost it if negative), all costs taken off."""
        position = self._held.get(symbol)
        if position is None:
            position = Position(symbol, close=abs(cash / float(shares)))
            self._held = dict(sorted({**self._held, symbol: position}.items()))
        position.fills.append((session, shares, cash))
        position.qty = added(position.qty, shares)
        self._cash += cash
        if shares > 0:
            self._bought -= cash
        if not position.qty:
            self._over.append(self._held.pop(symbol))

    def close(self, session: int, closes: Mapping[str, float]) -> float:
        """Mark what is held at the last closes; the profit since the beginning."""
        gross = 0.0
        for symbol, position in self._held.items():
            position.close = close = closes.get(symbol, position.close)
            gross += float(position.qty) * close
        self._sessions.append(session)
        self._worth.append(self._cash + gross)
        self._work.append(self._gross + self._bought)
        self._gross, self._bought = gross, 0.0
        if len(self._sessions) > 2 * KEPT:
            self._forget()
        return self._worth[-1]

    def sessions(self, first: int, last: int) -> int:
        """How many of the sessions `first`..`last` it has closed."""
        return bisect_right(self._sessions, last) - bisect_left(self._sessions, first)

    def worth(self, first: int, last: int) -> array[float]:
        """Profit since the beginning at the close before `first` and at each close of `first`..`last`."""
        at, after = bisect_left(self._sessions, first), bisect_right(self._sessions, last)
        before = self._worth[at - 1] if at else self._base
        return array("d", (before,)) + self._worth[at:after]

    def daily(self, first: int, last: int) -> list[float]:
        """The profit of each session of `first`..`last`."""
        return [after - before for before, after in pairwise(self.worth(first, last))]

    def capital(self, first: int, last: int) -> list[float]:
        """What was at work in each session of `first`..`last`: held at the close before, and bought."""
        return list(self._work[bisect_left(self._sessions, first) : bisect_right(self._sessions, last)])

    def profits(self, first: int, last: int, close_at: CloseAt) -> list[float]:
        """What each position that overlaps `first`..`last` earned within, marked at the close before and the last one.

        Over adjacent windows they add up to the whole, and in each to what `worth` grew.
        """
        return [
            position.profit(last, close_at) - position.profit(first - 1, close_at)
            for position in self._overlapping(first, last)
        ]

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "cash": self._cash,
            "held": [_values(position) for position in self._held.values()],
            "over": [_values(position) for position in self._over],
            "sessions": list(self._sessions),
            "worth": list(self._worth),
            "work": list(self._work),
            "rest": [self._base, self._gross, self._bought],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._cash = state["cash"]
        self._held = {position.symbol: position for position in map(_position, state["held"])}
        self._over = deque(map(_position, state["over"]))
        self._sessions = list(state["sessions"])
        self._worth, self._work = array("d", state["worth"]), array("d", state["work"])
        self._base, self._gross, self._bought = state["rest"]

    def _overlapping(self, first: int, last: int) -> Iterator[Position]:
        for position in self._over:
            if position.opened <= last and position.fills[-1][0] >= first:
                yield position
        for position in self._held.values():
            if position.opened <= last:
                yield position

    def _forget(self) -> None:
        drop = len(self._sessions) - KEPT
        self._base = self._worth[drop - 1]
        del self._sessions[:drop], self._worth[:drop], self._work[:drop]
        while self._over and self._over[0].fills[-1][0] < self._sessions[0]:
            self._over.popleft()


def _values(position: Position) -> list[Any]:
    return [
        position.symbol,
        [[at, str(shares), cash] for at, shares, cash in position.fills],
        str(position.qty),
        position.close,
    ]


def _position(values: list[Any]) -> Position:
    symbol, fills, qty, close = values
    return Position(symbol, [(session, Decimal(shares), cash) for session, shares, cash in fills], Decimal(qty), close)
