"""Accounts: what the portfolio owns, owes to nobody, and is worth; all of it from fills and closes.

Pure bookkeeping in `Decimal`: fills change it, marks value it, the end of a session states it and checks it. Knows no
order and no venue, so that it can disagree with them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from quantum_trader.execution.fills import ZERO, Fill, notional
from quantum_trader.model import MONEY, Side, added, money, price, taken

Pair = tuple[str, str]  # strategy, symbol


@dataclass(frozen=True, slots=True)
class PositionLine:
    """One position at the end of a session. `stale`: its symbol had no bar, `last` is the close before."""

    strategy_id: str
    symbol: str
    qty: Decimal
    avg_price: Decimal
    last: Decimal
    stop: float | None
    unrealised: Decimal
    stale: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """The portfolio at the end of a session, in account currency; `realised` is before fees.

    `drawdown` is a positive fraction of the highest equity of the window, `day_return` a fraction of the equity before.
    `breaches` names each invariant that does not hold.
    """

    session: int
    cash: Decimal
    equity: Decimal
    gross: Decimal
    realised: Decimal
    fees: Decimal
    drawdown: float
    day_return: float
    positions: tuple[PositionLine, ...]
    breaches: tuple[str, ...]

    @property
    def invariants_ok(self) -> bool:
        return not self.breaches


@dataclass(slots=True)
class _Position:
    """A quantity and what was paid for it. The average price is derived: kept, its rounding would leak into the books."""

    qty: Decimal = Decimal(0)
    cost: Decimal = ZERO
    stop: float | None = None


class Accounts:
    """Cash and positions of all strategies in one account.

    `window` is the number of sessions the drawdown looks back on; every `audit_every` sessions positions and cash are
    rebuilt from the fills since the audit before and compared with the books.
    """

    def __init__(self, cash: Decimal, *, window: int = 252, audit_every: int = 50) -> None:
        self._start: Final = money(cash)
        if self._start <= 0:
            raise ValueError(f"cash must be above 0 to start with, got {cash}")
        self._window = window
        self._audit_every = audit_every
        self._cash = self._start
        self._realised = ZERO
        self._fees = ZERO
        self._positions: dict[Pair, _Position] = {}
        self._seen: set[str] = set()
        self._marks: dict[str, tuple[int, float]] = {}  # session and close of each symbol's last bar
        self._equity = self._start
        self._sessions = 0
        self._peaks: deque[tuple[int, Decimal]] = deque()  # falling equities of the window: the first is the peak
        self._audited_cash = self._start
        self._audited: dict[Pair, Decimal] = {}
        self._unaudited: list[tuple[Pair, Decimal, Decimal, Decimal]] = []  # signed quantity, value, fee

    @property
    def cash(self) -> Decimal:
        return self._cash

    @property
    def realised(self) -> Decimal:
        return self._realised

    @property
    def fees(self) -> Decimal:
        return self._fees

    def quantities(self) -> dict[Pair, Decimal]:
        """What is held, by (strategy, symbol)."""
        return {pair: position.qty for pair, position in sorted(self._positions.items())}

    def mark(self, symbol: str, session: int, close: float) -> None:
        """The close of a bar, to value positions at."""
        self._marks[symbol] = (session, close)

    def book(self, fill: Fill) -> Decimal | None:
        """Take a fill; returns the profit it realised before fees, or None when its id was booked before.

        A fill has happened, so it is booked even when it breaks the books (more sold than held): the next statement
        tells.
        """
        if fill.fill_id in self._seen:
            return None
        self._seen.add(fill.fill_id)
        pair = (fill.strategy_id, fill.symbol)
        position = self._positions.setdefault(pair, _Position())
        value = notional(fill.qty, fill.price)
        realised = ZERO
        if fill.side is Side.BUY:
            position.qty = added(position.qty, fill.qty)
            position.cost = MONEY.add(position.cost, value)
            self._cash = MONEY.subtract(self._cash, value)
        else:
            sold = _cost_of(position, fill.qty)
            position.qty = taken(position.qty, fill.qty)
            position.cost = MONEY.subtract(position.cost, sold)
            realised = MONEY.subtract(value, sold)
            self._cash = MONEY.add(self._cash, value)
        if not position.qty:
            # Nothing, unless more had been sold than was held: then the shares bought back are the loss.
            realised = MONEY.subtract(realised, position.cost)
            del self._positions[pair]
        position.stop = fill.stop
        self._cash = MONEY.subtract(self._cash, fill.fee)
        self._fees = MONEY.add(self._fees, fill.fee)
        self._realised = MONEY.add(self._realised, realised)
        self._marks.setdefault(fill.symbol, (fill.session, float(fill.price)))
        self._unaudited.append((pair, fill.qty if fill.side is Side.BUY else fill.qty.copy_negate(), value, fill.fee))
        return realised

    def close_session(self, session: int) -> Statement:
        """Value everything at the last closes, remember the equity, check the books."""
        lines = tuple(self._line(pair, position, session) for pair, position in sorted(self._positions.items()))
        gross = ZERO
        for line in lines:
            gross = MONEY.add(gross, notional(line.qty, line.last))
        equity = MONEY.add(self._cash, gross)
        day_return = _ratio(equity, self._equity) - 1.0
        self._equity = equity
        self._sessions += 1
        return Statement(
            session=session,
            cash=self._cash,
            equity=equity,
            gross=gross,
            realised=self._realised,
            fees=self._fees,
            drawdown=1.0 - _ratio(equity, self._peak(equity)),
            day_return=day_return,
            positions=lines,
            breaches=self._breaches(),
        )

    def forget_peak(self) -> None:
        """Drawdowns count from the equity of now on."""
        self._peaks.clear()
        self._peaks.append((self._sessions, self._equity))

    def imbalance(self) -> Decimal:
        """`cash + positions at cost - (start + realised - fees)`: zero to the last digit, or the books are wrong."""
        held = self._cash
        for position in self._positions.values():
            held = MONEY.add(held, position.cost)
        earned = MONEY.subtract(MONEY.add(self._start, self._realised), self._fees)
        return MONEY.subtract(held, earned)

    def state(self) -> dict[str, Any]:
        """Everything it knows as plain JSON values, for a checkpoint; start cash and windows are configuration."""
        return {
            "cash": str(self._cash),
            "realised": str(self._realised),
            "fees": str(self._fees),
            "positions": [
                [*pair, str(position.qty), str(position.cost), position.stop]
                for pair, position in sorted(self._positions.items())
            ],
            "seen": sorted(self._seen),
            "marks": {symbol: list(mark) for symbol, mark in sorted(self._marks.items())},
            "equity": str(self._equity),
            "sessions": self._sessions,
            "peaks": [[number, str(equity)] for number, equity in self._peaks],
            "audited_cash": str(self._audited_cash),
            "audited": [[*pair, str(qty)] for pair, qty in sorted(self._audited.items())],
            "unaudited": [[*pair, str(qty), str(value), str(fee)] for pair, qty, value, fee in self._unaudited],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._cash = money(state["cash"])
        self._realised = money(state["realised"])
        self._fees = money(state["fees"])
        self._positions = {
            (strategy_id, symbol): _Position(Decimal(qty), money(cost), stop)
            for strategy_id, symbol, qty, cost, stop in state["positions"]
        }
        self._seen = set(state["seen"])
        self._marks = {symbol: (session, close) for symbol, (session, close) in state["marks"].items()}
        self._equity = money(state["equity"])
        self._sessions = state["sessions"]
        self._peaks = deque((number, money(equity)) for number, equity in state["peaks"])
        self._audited_cash = money(state["audited_cash"])
        self._audited = {(strategy_id, symbol): Decimal(qty) for strategy_id, symbol, qty in state["audited"]}
        self._unaudited = [
            ((strategy_id, symbol), Decimal(qty), money(value), money(fee))
            for strategy_id, symbol, qty, value, fee in state["unaudited"]
        ]

    def _line(self, pair: Pair, position: _Position, session: int) -> PositionLine:
        marked, close = self._marks[pair[1]]
        last = price(close)
        return PositionLine(
            strategy_id=pair[0],
            symbol=pair[1],
            qty=position.qty,
            avg_price=price(MONEY.divide(position.cost, position.qty)),
            last=last,
            stop=position.stop,
            unrealised=MONEY.subtract(notional(position.qty, last), position.cost),
            stale=marked != session,
        )

    def _peak(self, equity: Decimal) -> Decimal:
        while self._peaks and self._peaks[-1][1] <= equity:
            self._peaks.pop()
        self._peaks.append((self._sessions, equity))
        if self._peaks[0][0] <= self._sessions - self._window:
            self._peaks.popleft()
        return self._peaks[0][1]

    def _breaches(self) -> tuple[str, ...]:
        breaches = [f"{pair[0]} holds {qty} of {pair[1]}" for pair, qty in self.quantities().items() if qty < 0]
        if self._cash < 0:
            breaches.append(f"cash is {self._cash}")
        if imbalance := self.imbalance():
            breaches.append(f"the books are off by {imbalance}")
        if self._sessions % self._audit_every == 0 and not self._audit():
            breaches.append("the books are not what the fills add up to")
        return tuple(breaches)

    def _audit(self) -> bool:
        """Rebuild cash and quantities from the fills since the last good audit, by sums alone."""
        cash = self._audited_cash
        quantities = dict(self._audited)
        for pair, qty, value, fee in self._unaudited:
            spent = MONEY.add(value, fee) if qty > 0 else MONEY.subtract(fee, value)
            cash = MONEY.subtract(cash, spent)
            quantities[pair] = added(quantities.get(pair, Decimal(0)), qty)
        quantities = {pair: qty for pair, qty in quantities.items() if qty}
        if cash != self._cash or quantities != self.quantities():
            return False
        self._audited_cash, self._audited = cash, quantities
        self._unaudited.clear()
        return True


def _cost_of(position: _Position, qty: Decimal) -> Decimal:
    """What `qty` of the position cost on average; what is not held cost nothing."""
    if position.qty <= 0:
        return ZERO
    return money(MONEY.divide(MONEY.multiply(position.cost, qty), position.qty))


def _ratio(now: Decimal, before: Decimal) -> float:
    # An account that is worth nothing stays where it is.
    return float(now) / float(before) if before > 0 else 1.0
