"""Trial: what a strategy would have earned on stored bars, with the executor's own fill code.

An account of its own per strategy: a fixed share of its equity per symbol, decided at the close, filled at the next open
at the venue's costs, no protective stops. It goes on bar by bar, so a review costs only the sessions since the one before.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np

from quantum_trader.alpha.families import Machine, StrategySpec
from quantum_trader.config import Costs
from quantum_trader.execution.fills import fill_at_open, notional
from quantum_trader.execution.marked import CloseAt, MarkedBook
from quantum_trader.instruments import SHARES, Instrument, Instruments
from quantum_trader.learning.statistics import Floats
from quantum_trader.model import Bar, Side, added
from quantum_trader.snapshot import reinstate, snapshot

START: Final = 1_000_000.0  # account currency; gates look at ratios only
NONE: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Group:
    """The bars of one session, in sorted symbol order."""

    session: int
    bars: tuple[Bar, ...]


@dataclass(slots=True)
class _Cell:
    machine: Machine
    instrument: Instrument
    close: float = 0.0
    target: int | None = None
    qty: Decimal = NONE
    order: Decimal = NONE  # to buy (above 0) or sell at the next open


class Trial:
    """One strategy on every symbol. Feed it every session once, in order."""

    def __init__(self, spec: StrategySpec, costs: Costs, *, weight: float, instruments: Instruments = SHARES) -> None:
        self.spec = spec
        self._instruments = instruments
        self._costs = costs
        self._weight = weight
        self._cash = START
        self._cells: dict[str, _Cell] = {}  # in sorted order, for sums that do not depend on listing dates
        self._closes: dict[str, float] = {}
        self._book = MarkedBook()
        self.through = -1  # the last session taken

    def take(self, group: Group) -> None:
        """Fill what was decided before, then decide on the closes of this session."""
        cells = self._cells
        for bar in group.bars:
            cell = cells.get(bar.symbol)
            if cell is None:
                cell = _Cell(self.spec.machine(), self._instruments.of(bar.symbol))
                cells = self._cells = dict(sorted({**cells, bar.symbol: cell}.items()))
            if cell.order:
                self._fill(cell, bar)
            cell.close = self._closes[bar.symbol] = bar.close
            cell.target = cell.machine.update(bar)
        equity = START + self._book.close(group.session, self._closes)
        for cell in cells.values():
            if not cell.target:
                cell.order = cell.qty.copy_negate()
            elif cell.qty:
                cell.order = NONE
            else:
                cell.order = cell.instrument.floor(self._weight * equity / cell.close)
        self.through = group.session

    def returns(self, first: int, last: int) -> Floats:
        """Returns of the sessions `first`..`last`."""
        equity = np.array(self.equity(first, last), dtype=np.float64)
        return equity[1:] / equity[:-1] - 1.0

    def equity(self, first: int, last: int) -> array[float]:
        """Equity at the close before `first` and at the closes of `first`..`last`."""
        return array("d", (START + profit for profit in self._book.worth(first, last)))

    def sessions(self, first: int, last: int) -> int:
        """How many of the sessions `first`..`last` it has seen."""
        return self._book.sessions(first, last)

    def profits(self, first: int, last: int, close_at: CloseAt) -> list[float]:
        """What each position that overlaps `first`..`last` earned within, marked at both ends."""
        return self._book.profits(first, last, close_at)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values; spec and costs are given."""
        return {
            "cash": self._cash,
            "cells": {
                symbol: {
                    "machine": snapshot(cell.machine),
                    "rest": [cell.close, cell.target, str(cell.qty), str(cell.order)],
                }
                for symbol, cell in self._cells.items()
            },
            "closes": dict(self._closes),
            "book": self._book.state(),
            "through": self.through,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._cash = state["cash"]
        self._cells = {}
        for symbol, saved in state["cells"].items():
            machine = self.spec.machine()
            reinstate(machine, saved["machine"])
            close, target, qty, order = saved["rest"]
            instrument = self._instruments.of(symbol)
            self._cells[symbol] = _Cell(machine, instrument, close, target, Decimal(qty), Decimal(order))
        self._closes = dict(state["closes"])
        self._book.restore(state["book"])
        self.through = state["through"]

    def _fill(self, cell: _Cell, bar: Bar) -> None:
        buys = cell.order > 0
        cash = Decimal(repr(round(self._cash, 6))) if buys else None
        side, wanted = Side.BUY if buys else Side.SELL, cell.order.copy_abs()
        done = fill_at_open(bar, side, wanted, self._costs, cash=cash, instrument=cell.instrument)
        if done is None:
            return
        value, fee = float(notional(done.qty, done.price)), float(done.fee)
        shares, brought = (done.qty, -value - fee) if buys else (done.qty.copy_negate(), value - fee)
        cell.qty = added(cell.qty, shares)
        self._cash += brought
        self._book.fill(bar.session, bar.symbol, shares, brought)


def run(trial: Trial, sessions: Iterable[Group]) -> None:
    """Take every session that `trial` has not seen yet."""
    for group in sessions:
        if group.session > trial.through:
            trial.take(group)
