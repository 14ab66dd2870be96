"""Trial: what a strategy would have earned on stored bars, with the executor's own fill code.

An account of its own per strategy: a fixed share of its equity per symbol, decided at the close, filled at the next open
at the venue's costs, no protective stops. It goes on bar by bar, so a review costs only the sessions since the one before.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np

from quantum_trader.alpha.families import Machine, StrategySpec
from quantum_trader.execution.fills import Costs, fill_at_open, notional
from quantum_trader.learning.statistics import Floats
from quantum_trader.model import Bar, Side
from quantum_trader.snapshot import reinstate, snapshot

START: Final = 1_000_000.0  # account currency; gates look at ratios only
KEPT: Final = 800  # sessions of equity and trades at least; the longest window is 504


@dataclass(frozen=True, slots=True)
class Group:
    """The bars of one session, in sorted symbol order."""

    session: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class ClosedTrade:
    """A position from entry to exit; `profit` after fees, in account currency."""

    opened: int  # session of the first fill
    closed: int
    profit: float


@dataclass(slots=True)
class _Cell:
    machine: Machine
    close: float = 0.0
    target: int | None = None
    qty: int = 0
    paid: float = 0.0  # for the shares held, fees included, less what partial exits brought
    opened: int = 0
    order: int = 0  # shares to buy (above 0) or sell at the next open


class Trial:
    """One strategy on every symbol. Feed it every session once, in order."""

    def __init__(self, spec: StrategySpec, costs: Costs, *, weight: float) -> None:
        self.spec = spec
        self._costs = costs
        self._weight = weight
        self._cash = START
        self._cells: dict[str, _Cell] = {}  # in sorted order, for sums that do not depend on listing dates
        self._sessions: list[int] = []  # those that the equity belongs to
        self._equity = array("d")
        self._trades: deque[ClosedTrade] = deque()
        self.through = -1  # the last session taken

    def take(self, group: Group) -> None:
        """Fill what was decided before, then decide on the closes of this session."""
        cells = self._cells
        for bar in group.bars:
            cell = cells.get(bar.symbol)
            if cell is None:
                cell = _Cell(self.spec.machine())
                cells = self._cells = dict(sorted({**cells, bar.symbol: cell}.items()))
            if cell.order:
                self._fill(cell, bar)
            cell.close = bar.close
            cell.target = cell.machine.update(bar)
        equity = self._cash
        for cell in cells.values():
            if cell.qty:
                equity += cell.qty * cell.close
        for cell in cells.values():
            if not cell.target:
                cell.order = -cell.qty
            elif cell.qty:
                cell.order = 0
            else:
                cell.order = max(0, int(self._weight * equity / cell.close))
        self._sessions.append(group.session)
        self._equity.append(equity)
        self.through = group.session
        if len(self._equity) > 2 * KEPT:
            self._forget()

    def returns(self, first: int, last: int) -> Floats:
        """Returns of the sessions `first`..`last`; that of the very first session is unknown and left out."""
        equity = np.array(self.equity(first, last))
        return equity[1:] / equity[:-1] - 1.0 if equity.size else equity

    def equity(self, first: int, last: int) -> array[float]:
        """Equity at the closes of `first`..`last`, and before them that of the close before if it is known."""
        return self._equity[max(0, bisect_left(self._sessions, first) - 1) : bisect_right(self._sessions, last)]

    def sessions(self, first: int, last: int) -> int:
        """How many of the sessions `first`..`last` it has seen."""
        return bisect_right(self._sessions, last) - bisect_left(self._sessions, first)

    def trades(self, first: int, last: int) -> list[ClosedTrade]:
        """Trades opened and closed within `first`..`last`: what was earned before a window does not count in it."""
        return [trade for trade in self._trades if first <= trade.opened and trade.closed <= last]

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values; spec and costs are given."""
        return {
            "cash": self._cash,
            "cells": {
                symbol: {
                    "machine": snapshot(cell.machine),
                    "rest": [cell.close, cell.target, cell.qty, cell.paid, cell.opened, cell.order],
                }
                for symbol, cell in self._cells.items()
            },
            "sessions": list(self._sessions),
            "equity": list(self._equity),
            "trades": [[trade.opened, trade.closed, trade.profit] for trade in self._trades],
            "through": self.through,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._cash = state["cash"]
        self._cells = {}
        for symbol, saved in state["cells"].items():
            machine = self.spec.machine()
            reinstate(machine, saved["machine"])
            self._cells[symbol] = _Cell(machine, *saved["rest"])
        self._sessions, self._equity = list(state["sessions"]), array("d", state["equity"])
        self._trades = deque(ClosedTrade(*trade) for trade in state["trades"])
        self.through = state["through"]

    def _forget(self) -> None:
        del self._sessions[:-KEPT], self._equity[:-KEPT]
        while self._trades and self._trades[0].closed < self._sessions[0]:
            self._trades.popleft()

    def _fill(self, cell: _Cell, bar: Bar) -> None:
        buys = cell.order > 0
        cash = Decimal(repr(round(self._cash, 6))) if buys else None
        done = fill_at_open(bar, Side.BUY if buys else Side.SELL, abs(cell.order), self._costs, cash=cash)
        if done is None:
            return
        value, fee = float(notional(done.qty, done.price)), float(done.fee)
        if buys:
            cell.qty, cell.paid, cell.opened = done.qty, value + fee, bar.session
            self._cash -= value + fee
            return
        self._cash += value - fee
        cell.qty -= done.qty
        cell.paid -= value - fee
        if not cell.qty:
            self._trades.append(ClosedTrade(cell.opened, bar.session, -cell.paid))


def run(trial: Trial, sessions: Iterable[Group]) -> None:
    """Take every session that `trial` has not seen yet."""
    for group in sessions:
        if group.session > trial.through:
            trial.take(group)
