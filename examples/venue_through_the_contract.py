"""An adapter to a broker of one's own, put through the contract that every venue must keep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal

from quantum_trader.api import Order, Report, Venue, VenueContract
from quantum_trader.venues.market import Market
from quantum_trader.venues.values import ReportStatus


class Broker:
    """Stands in for the broker's own library: numbers orders, fills them at once, and calls back."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.waiting: dict[int, tuple[str, Decimal]] = {}
        self.number = 0
        market.listen(self.fill)

    def place(self, symbol: str, units: Decimal) -> int:
        self.number += 1
        self.waiting[self.number] = (symbol, units)
        return self.number

    def fill(self) -> None:
        for number, (symbol, units) in list(self.waiting.items()):
            del self.waiting[number]
            self.on_deal(number, symbol, units, self.market.prices[symbol])

    def on_deal(self, number: int, symbol: str, units: Decimal, price: Decimal) -> None:
        raise NotImplementedError


class MyVenue:
    """The adapter: the broker's numbers and callbacks on one side, client ids and reports on the other."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        broker.on_deal = self._on_deal  # type: ignore[method-assign]  # how this broker calls back
        self._orders: dict[str, Order] = {}
        self._numbers: dict[int, str] = {}
        self._held: dict[str, Decimal] = {}
        self._told: asyncio.Queue[Report] = asyncio.Queue()

    async def submit(self, order: Order) -> None:
        if order.client_id not in self._orders:
            self._orders[order.client_id] = order
            units = order.qty if order.side.value == "BUY" else -order.qty
            self._numbers[self._broker.place(order.symbol, units)] = order.client_id
            self._tell(order.client_id, ReportStatus.ACCEPTED)

    async def cancel(self, client_id: str) -> None:
        number = next((one for one, name in self._numbers.items() if name == client_id), None)
        if number is not None and self._broker.waiting.pop(number, None) is not None:
            self._tell(client_id, ReportStatus.CANCELLED)

    async def open_orders(self) -> Sequence[Order]:
        return [self._orders[self._numbers[number]] for number in self._broker.waiting]

    async def positions(self) -> Mapping[str, Decimal]:
        return {symbol: units for symbol, units in self._held.items() if units}

    async def reports(self) -> AsyncIterator[Report]:
        while True:
            yield await self._told.get()

    def _on_deal(self, number: int, symbol: str, units: Decimal, price: Decimal) -> None:
        self._held[symbol] = self._held.get(symbol, Decimal(0)) + units
        self._tell(self._numbers[number], ReportStatus.FILLED, abs(units), price, f"deal-{number}")

    def _tell(
        self, name: str, status: ReportStatus, filled: Decimal = Decimal(0), price: Decimal = Decimal(0), deal: str = ""
    ) -> None:
        self._told.put_nowait(Report(name, status, filled, price, Decimal(0), deal, self._broker.market.now))


class TestMyVenue(VenueContract):
    """`pytest venue_through_the_contract.py` runs every test of the contract."""

    def make_venue(self, market: Market) -> Venue:
        return MyVenue(Broker(market))


if __name__ == "__main__":
    names = [name for name in dir(TestMyVenue) if name.startswith("test_")]
    for test in names:
        getattr(TestMyVenue(), test)()
        print(f"kept: {test.removeprefix('test_').replace('_', ' ')}")
    assert len(names) == 9
