"""Onlooking: what a user brings to a run that another process carries out. It hears the run, and changes nothing of it.

Components hang on a bus of their own, which is told what the journal has; checks are asked again about the entries it sized.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal

from eventbus import Event, InMemoryEventBus
from quantum_trader.brought import named_checks, own_components
from quantum_trader.config import Config
from quantum_trader.control.checks import reduces
from quantum_trader.events import MarketBarEvent, OrdersSizedEvent, PortfolioUpdatedEvent
from quantum_trader.model import Order, added
from quantum_trader.own.checks import Check, Denial, RiskView, asked
from quantum_trader.own.loading import told

Hear = Callable[[Sequence[Event]], None]


class Examiner:
    """Asks checks about every entry that a run sized, with the account as the run told it, and tells what each would deny."""

    def __init__(self, checks: Sequence[tuple[str, Check]], cash: Decimal, tell: Callable[[str], object]) -> None:
        self._checks = checks
        self._tell = tell
        self._prices: dict[str, float] = {}
        self._view = RiskView(cash, cash, {}, self._prices, -1)

    def take(self, events: Sequence[Event]) -> None:
        """The next events, in the order of the journal."""
        for event in events:
            match event:
                case MarketBarEvent():
                    self._prices[event.symbol] = event.close
                case PortfolioUpdatedEvent():
                    held: dict[str, Decimal] = {}
                    for line in event.positions:
                        held[line.symbol] = added(held.get(line.symbol, Decimal(0)), line.qty)
                    self._view = RiskView(event.equity, event.cash, held, self._prices, event.session)
                case OrdersSizedEvent():
                    for item in event.items:
                        self._examine(item.order(event.session))
                case _:
                    pass

    def _examine(self, order: Order) -> None:
        if reduces(order):
            return
        for name, check in self._checks:
            try:
                denial = asked(name, check, order, self._view)
            except Exception as error:  # noqa: BLE001 - a user's code: what it raises denies, as in a run
                denial = Denial("CHECK_FAILED", told(error))
            if denial is not None:
                detail = f": {denial.detail}" if denial.detail else ""
                self._tell(f"{name} would deny {order.order_id} in session {order.session}: {denial.reason}{detail}")


@asynccontextmanager
async def onlookers(config: Config, tell: Callable[[str], object]) -> AsyncIterator[Hear]:
    """What takes the events of a run for all that `config` says was brought, until the block ends. Raises `OwnCodeError`."""
    examiner = Examiner(named_checks(config), config.app.cash, tell)
    bus = InMemoryEventBus()
    coming: asyncio.Queue[Sequence[Event]] = asyncio.Queue()

    def hear(events: Sequence[Event]) -> None:
        examiner.take(events)
        if closers:
            coming.put_nowait(events)

    async def pass_on() -> None:
        while True:
            await bus.publish_many(await coming.get())

    async with bus:
        closers = own_components(bus, config, {})
        passing = asyncio.create_task(pass_on())
        try:
            yield hear
        finally:
            passing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await passing
            for close in closers:
                close()
