"""Paper venue: approved orders in, reports out, one bar at a time.

A cash account without a short side: working orders, protective stops and the positions they protect meet the next bars.
Knows no event and no clock; what it returns has happened, in that order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from quantum_trader.config import ExecutionConfig
from quantum_trader.execution.fills import (
    Execution,
    Fill,
    fill_at_open,
    fill_at_stop,
    hits,
    notional,
    outlay,
    room,
    shortfall_bp,
    written_off,
)
from quantum_trader.execution.order_state import OrderState, WorkingOrder
from quantum_trader.execution.reports import Accepted, CancelReason, RejectCode, Rejected, Report
from quantum_trader.execution.symbol_book import SymbolBook, age
from quantum_trader.instruments import SHARES, Instruments
from quantum_trader.model import MONEY, Bar, KillMode, Order, OrderKind, Side, Trigger, money

NOTHING: Final[tuple[Report, ...]] = ()


class PaperVenue:
    """Fills market orders at the next open, oldest first (session decided, then id), and stops after them.

    `cash` is the account's start. A position without bars is held until its symbol has one, or written off after
    `delist_after` sessions, as the settings say. Under HALT nothing is accepted and nothing fills, stops included: they
    wait.
    """

    def __init__(
        self,
        settings: ExecutionConfig,
        *,
        cash: Decimal,
        instruments: Instruments = SHARES,
    ) -> None:
        self._costs = self._settings = settings
        self._instruments = instruments
        self._cash = money(cash)
        self._mode = KillMode.OFF
        self._books: dict[str, SymbolBook] = {}  # only symbols with something working or held
        self._seen: set[str] = set()
        self._duplicates = 0

    @property
    def cash(self) -> Decimal:
        return self._cash

    @property
    def mode(self) -> KillMode:
        return self._mode

    @property
    def duplicates(self) -> int:
        """Approvals that were ignored because their order id was known."""
        return self._duplicates

    def working(self) -> list[WorkingOrder]:
        """Every working order, oldest first."""
        return sorted((working for book in self._books.values() for working in book.working), key=age)

    def positions(self) -> dict[tuple[str, str], Decimal]:
        """What is held, by (strategy, symbol)."""
        return {
            (strategy_id, symbol): holding.qty
            for symbol, book in sorted(self._books.items())
            for strategy_id, holding in sorted(book.holdings.items())
        }

    def submit(self, order: Order) -> Sequence[Report]:
        """Take an approved order; it fills on bars after `order.session`. An order id taken before changes nothing."""
        if order.order_id in self._seen:
            self._duplicates += 1
            return NOTHING
        self._seen.add(order.order_id)
        reports: list[Report] = []
        book = self._books.setdefault(order.symbol, SymbolBook())
        if order.kind is OrderKind.EXIT and (entry := book.find(order.strategy_id, OrderKind.ENTRY)) is not None:
            reports.append(book.cancel(entry, CancelReason.SUPERSEDED))
        code = self._refusal(order, book)
        if code is None:
            expires = order.session + self._settings.time_to_live
            book.admit(WorkingOrder(order, OrderState.APPROVED, expires_session=expires))
            reports.append(Accepted(order, expires))
        else:
            reports.append(Rejected(order, code))
        self._forget_idle(order.symbol)
        return reports

    def on_bar(self, bar: Bar) -> Sequence[Report]:
        """What the bar did to the orders and stops of its symbol. A bar of a session already seen does nothing."""
        book = self._books.get(bar.symbol)
        if book is None or bar.session <= book.last_session:
            return NOTHING
        book.last_session = bar.session
        book.last_close = bar.close
        if self._mode is KillMode.HALT:
            return NOTHING
        reports: list[Report] = []
        for strategy_id in sorted(book.holdings):
            if book.holdings[strategy_id].stopped:
                reports += self._try_rest_of_stop(book, strategy_id, bar)
        for working in tuple(book.working):
            # One before it may have ended it; one decided on this very bar waits for the next.
            if not working.is_terminal and working.order.session < bar.session:
                reports += self._try_at_open(book, working, bar)
        for strategy_id in sorted(book.holdings):
            reports += self._try_stop(book, strategy_id, bar)
        self._forget_idle(bar.symbol)
        return reports

    def end_session(self, session: int) -> Sequence[Report]:
        """Expire the orders whose time is over, and write positions off whose symbols stopped trading if that is the policy."""
        reports: list[Report] = []
        for symbol, book in sorted(self._books.items()):
            reports += [book.expire(working) for working in tuple(book.working) if working.is_due(session)]
            if self._is_given_up(book, session):
                for strategy_id in sorted(book.holdings):
                    reports += self._write_off(book, strategy_id, symbol, session)
            self._forget_idle(symbol)
        return reports

    def set_mode(self, mode: KillMode) -> Sequence[Report]:
        """Turn the kill switch. HALT cancels every working order, REDUCE_ONLY every entry."""
        self._mode = mode
        reports: list[Report] = []
        for working in self.working():
            if mode is KillMode.HALT or (mode is KillMode.REDUCE_ONLY and working.order.kind is OrderKind.ENTRY):
                symbol = working.order.symbol
                reports.append(self._books[symbol].cancel(working, CancelReason.KILL_SWITCH))
                self._forget_idle(symbol)
        return reports

    def state(self) -> dict[str, Any]:
        """Everything it knows as plain JSON values, for a checkpoint; costs and time to live are configuration."""
        return {
            "cash": str(self._cash),
            "mode": self._mode.value,
            "seen": sorted(self._seen),
            "duplicates": self._duplicates,
            "books": {symbol: book.export() for symbol, book in sorted(self._books.items())},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._cash = money(state["cash"])
        self._mode = KillMode(state["mode"])
        self._seen = set(state["seen"])
        self._duplicates = state["duplicates"]
        self._books = {symbol: SymbolBook.load(book) for symbol, book in state["books"].items()}

    def _refusal(self, order: Order, book: SymbolBook) -> RejectCode | None:
        entry = order.kind is OrderKind.ENTRY
        if self._mode is KillMode.HALT or (self._mode is KillMode.REDUCE_ONLY and entry):
            return RejectCode.KILL_SWITCH
        if entry is not (order.side is Side.BUY):
            return RejectCode.SIDE_MISMATCH
        if not self._instruments.of(order.symbol).is_lots(order.qty):
            return RejectCode.QTY_INVALID
        if book.find(order.strategy_id, order.kind) is not None:
            return RejectCode.WORKING_ORDER
        holding = book.holdings.get(order.strategy_id)
        if entry and holding is not None and holding.stopped:
            return RejectCode.WORKING_ORDER  # the stop's own, which still sells
        if not entry and holding is None:
            return RejectCode.NO_POSITION
        return None

    def _try_at_open(self, book: SymbolBook, working: WorkingOrder, bar: Bar) -> list[Report]:
        order = working.order
        entry = order.kind is OrderKind.ENTRY
        instrument = self._instruments.of(bar.symbol)
        wanted = min(working.leaves, room(bar, self._costs, instrument))
        if not entry:
            wanted = min(wanted, book.holdings[order.strategy_id].qty)
        if not wanted:
            return []
        reports: list[Report] = []
        execution = fill_at_open(bar, order.side, wanted, self._costs, cash=self._cash, instrument=instrument)
        if execution is not None:
            fill_id, leaves = book.fill(working, execution.qty)
            self._settle(order.side, execution)
            reports.append(
                Fill(
                    fill_id=fill_id,
                    order_id=order.order_id,
                    strategy_id=order.strategy_id,
                    symbol=order.symbol,
                    side=order.side,
                    qty=execution.qty,
                    price=execution.price,
                    fee=execution.fee,
                    slippage_bp=execution.slippage_bp,
                    shortfall_bp=shortfall_bp(order.side, execution.price, order.reference),
                    trigger=Trigger.OPEN,
                    leaves_qty=leaves,
                    session=bar.session,
                    stop=book.stop(order.strategy_id),
                )
            )
        if entry and (execution is None or execution.qty < wanted):
            reports.append(book.cancel(working, CancelReason.CASH))
        if not entry and order.strategy_id not in book.holdings:
            reports += _cancel_exits(book, order.strategy_id)
        return reports

    def _try_stop(self, book: SymbolBook, strategy_id: str, bar: Bar) -> list[Report]:
        holding = book.holdings[strategy_id]
        if holding.stopped or holding.stop is None or not hits(bar, holding.stop):
            return []
        holding.stopped = True
        execution = fill_at_stop(bar, holding.stop, holding.qty, self._costs, self._instruments.of(bar.symbol))
        reports = _cancel_entry(book, strategy_id, CancelReason.STOPPED_OUT)
        if execution is None:
            return reports
        return [*self._sell_stopped(book, strategy_id, bar, holding.stop, execution), *reports]

    def _try_rest_of_stop(self, book: SymbolBook, strategy_id: str, bar: Bar) -> list[Report]:
        holding = book.holdings[strategy_id]
        instrument = self._instruments.of(bar.symbol)
        execution = fill_at_open(bar, Side.SELL, holding.qty, self._costs, instrument=instrument)
        if execution is None or holding.stop is None:
            return []
        return self._sell_stopped(book, strategy_id, bar, holding.stop, execution)

    def _sell_stopped(
        self, book: SymbolBook, strategy_id: str, bar: Bar, stop: float, execution: Execution
    ) -> list[Report]:
        holding = book.holdings[strategy_id]
        holding.stop_fills += 1
        fill = self._sell(book, strategy_id, bar.symbol, bar.session, execution, stop, Trigger.STOP, holding.stop_fills)
        return [fill] if strategy_id in book.holdings else [fill, *_cancel_exits(book, strategy_id)]

    def _is_given_up(self, book: SymbolBook, session: int) -> bool:
        """Whether a symbol has been without bars for exactly as long as a haircut asks; later it would know more."""
        silent = session - book.last_session >= self._settings.delist_after
        return silent and self._settings.delisting.policy == "haircut" and self._mode is not KillMode.HALT

    def _write_off(self, book: SymbolBook, strategy_id: str, symbol: str, session: int) -> list[Report]:
        execution = written_off(book.last_close, self._settings.delisting.haircut, book.holdings[strategy_id].qty)
        fill = self._sell(book, strategy_id, symbol, session, execution, book.last_close, Trigger.DELISTED)
        return [fill, *_cancel_entry(book, strategy_id, CancelReason.DELISTED), *_cancel_exits(book, strategy_id)]

    def _sell(
        self,
        book: SymbolBook,
        strategy_id: str,
        symbol: str,
        session: int,
        execution: Execution,
        reference: float,
        trigger: Trigger,
        number: int = 1,
    ) -> Fill:
        # Nobody ordered this sale today: it descends from the approved entry, and its id says so.
        holding = book.holdings[strategy_id]
        order_id = f"{holding.entry_id}:{trigger.lower()}"
        book.reduce(strategy_id, execution.qty)
        self._settle(Side.SELL, execution)
        return Fill(
            fill_id=f"{order_id}#{number}",
            order_id=order_id,
            strategy_id=strategy_id,
            symbol=symbol,
            side=Side.SELL,
            qty=execution.qty,
            price=execution.price,
            fee=execution.fee,
            slippage_bp=execution.slippage_bp,
            shortfall_bp=shortfall_bp(Side.SELL, execution.price, reference),
            trigger=trigger,
            leaves_qty=holding.qty,
            session=session,
            stop=book.stop(strategy_id),
        )

    def _settle(self, side: Side, execution: Execution) -> None:
        if side is Side.BUY:
            self._cash = MONEY.subtract(self._cash, outlay(execution))
        else:
            received = MONEY.subtract(notional(execution.qty, execution.price), execution.fee)
            self._cash = MONEY.add(self._cash, received)

    def _forget_idle(self, symbol: str) -> None:
        if self._books[symbol].is_idle:
            del self._books[symbol]


def _cancel_entry(book: SymbolBook, strategy_id: str, reason: CancelReason) -> list[Report]:
    entry = book.find(strategy_id, OrderKind.ENTRY)
    return [] if entry is None else [book.cancel(entry, reason)]


def _cancel_exits(book: SymbolBook, strategy_id: str) -> list[Report]:
    """End what still wants to sell a position that is gone."""
    found = (book.find(strategy_id, kind) for kind in (OrderKind.EXIT, OrderKind.TRIM))
    return [book.cancel(working, CancelReason.POSITION_CLOSED) for working in found if working is not None]
