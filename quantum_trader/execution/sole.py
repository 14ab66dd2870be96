"""Sole account: what a strategy would earn alone, filled by the venue's own functions, at its costs and with its stops.

A fixed share of its equity per symbol, decided at the close and filled at the next open. Trials are judged by it and
confidence comes from it, so neither can see a profit that the other does not. Knows no strategy: it is told targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from quantum_trader.config import Costs
from quantum_trader.execution.fills import Execution, fill_at_open, fill_at_stop, hits, notional
from quantum_trader.execution.marked import MarkedBook
from quantum_trader.instruments import SHARES, Instrument, Instruments
from quantum_trader.model import Bar, Side, added, money

NONE: Final = Decimal(0)
START: Final = 1_000_000.0  # account currency; whoever looks on asks for ratios only


@dataclass(slots=True)
class Lot:
    """One symbol. Whoever decides sets `target` (1 long, 0 flat, None while warming up) after the close of a bar."""

    symbol: str
    instrument: Instrument
    target: int | None = None
    qty: Decimal = NONE
    order: Decimal = NONE  # to buy (above 0) or sell at the next open
    stop: float | None = None
    leaving: bool = False  # stopped out, and some shares found no room yet
    close: float = 0.0
    session: int = -1  # of its last bar
    again: int = -1  # the first session in which it may be entered again


class SoleAccount:
    """Give each bar to `take`, then the session to `close`. `weight` is the share of equity per symbol, `cooldown` the
    sessions that a symbol rests after its stop."""

    def __init__(self, costs: Costs, *, weight: float, cooldown: int, instruments: Instruments = SHARES) -> None:
        self._costs = costs
        self._instruments = instruments
        self._weight = weight
        self._cooldown = cooldown
        self._cash = START
        self._lots: dict[str, Lot] = {}  # in sorted order, for what does not depend on listing dates
        self._closes: dict[str, float] = {}
        self.book = MarkedBook()

    def lot(self, symbol: str) -> Lot:
        """The lot of a symbol, made when it is first asked for."""
        lot = self._lots.get(symbol)
        if lot is None:
            lot = Lot(symbol, self._instruments.of(symbol))
            self._lots = dict(sorted({**self._lots, symbol: lot}.items()))
        return lot

    def take(self, lot: Lot, bar: Bar) -> None:
        """Fill what was decided before at the open of `bar`, then its stop if it was reached."""
        if lot.order:
            self._at_open(lot, bar)
        if lot.stop is not None and lot.qty and bar.low <= lot.stop and not lot.leaving:
            self._at_stop(lot, lot.stop, bar)
        lot.close = self._closes[bar.symbol] = bar.close
        lot.session = bar.session

    def close(self, session: int, stop_of: Callable[[str], float | None]) -> float:
        """Value the account and decide what the targets ask for; its equity. `stop_of` protects the entries."""
        equity = START + self.book.close(session, self._closes)
        for lot in self._lots.values():
            if lot.leaving or not lot.target:
                lot.order = lot.qty.copy_negate()
            elif lot.qty:
                lot.order = NONE
            elif lot.session == session:  # only what traded today has a price to enter at
                rests = session < lot.again
                lot.order = NONE if rests else lot.instrument.floor(self._weight * equity / lot.close)
                lot.stop = stop_of(lot.symbol) if lot.order else None
        return equity

    def equity(self, first: int, last: int) -> npt.NDArray[np.float64]:
        """Equity at the close before `first` and at the closes of `first`..`last`."""
        return START + np.array(self.book.worth(first, last), dtype=np.float64)

    def returns(self, first: int, last: int) -> npt.NDArray[np.float64]:
        """Returns of the sessions `first`..`last`."""
        equity = self.equity(first, last)
        return equity[1:] / equity[:-1] - 1.0

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values; costs and sizes are configuration."""
        return {"cash": self._cash, "lots": [_values(lot) for lot in self._lots.values()], "book": self.book.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._cash = state["cash"]
        self._lots = {}
        for symbol, target, qty, order, *rest in state["lots"]:
            instrument = self._instruments.of(symbol)
            self._lots[symbol] = Lot(symbol, instrument, target, Decimal(qty), Decimal(order), *rest)
        self._closes = {lot.symbol: lot.close for lot in self._lots.values() if lot.session >= 0}
        self.book.restore(state["book"])

    def _at_open(self, lot: Lot, bar: Bar) -> None:
        buys = lot.order > 0
        cash = money(round(self._cash, 6)) if buys else None
        side, wanted = Side.BUY if buys else Side.SELL, lot.order.copy_abs()
        done = fill_at_open(bar, side, wanted, self._costs, cash=cash, instrument=lot.instrument)
        if done is not None:
            self._settle(lot, side, done, bar)

    def _at_stop(self, lot: Lot, stop: float, bar: Bar) -> None:
        if not hits(bar, stop):
            return
        lot.leaving, lot.again = True, bar.session + self._cooldown
        done = fill_at_stop(bar, stop, lot.qty, self._costs, lot.instrument)
        if done is not None:
            self._settle(lot, Side.SELL, done, bar)

    def _settle(self, lot: Lot, side: Side, done: Execution, bar: Bar) -> None:
        brought = -side.sign * float(notional(done.qty, done.price)) - float(done.fee)
        shares = done.qty if side is Side.BUY else done.qty.copy_negate()
        lot.qty = added(lot.qty, shares)
        if not lot.qty:
            lot.leaving, lot.stop = False, None
        self._cash += brought
        self.book.fill(bar.session, bar.symbol, shares, brought)


def _values(lot: Lot) -> list[Any]:
    """Everything but the instrument, in the order of the fields."""
    return [
        lot.symbol,
        lot.target,
        str(lot.qty),
        str(lot.order),
        lot.stop,
        lot.leaving,
        lot.close,
        lot.session,
        lot.again,
    ]
