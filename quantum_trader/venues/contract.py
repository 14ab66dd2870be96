"""Contract: the tests that an adapter to a venue must pass, whoever wrote it. Needs pytest to run it, and nothing to import it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import Decimal
from typing import Final

from quantum_trader.model import Order, OrderKind, Side
from quantum_trader.venues.market import Market
from quantum_trader.venues.values import ENDS, FILLS, Report, ReportStatus, Venue

_TURNS: Final = 20  # of the loop after each step: time for an adapter to pass things on
_STEPS: Final = 50  # of the market until an order must have come to its end
_SYMBOL: Final = "XYZ"


class _Session:
    """A venue under test, what it reported, and a market to move."""

    def __init__(self, venue: Venue, market: Market) -> None:
        self.venue = venue
        self.market = market
        self.heard: list[Report] = []

    async def listen(self) -> None:
        async for report in self.venue.reports():
            self.heard.append(report)

    async def turn(self, steps: int = 1) -> None:
        for _ in range(steps):
            self.market.step()
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    async def settle(self) -> None:
        """Until nothing is open any more."""
        for _ in range(_STEPS):
            await self.turn()
            if not await self.venue.open_orders():
                return
        raise AssertionError(f"orders are open after {_STEPS} steps of the market")

    def of(self, order: Order) -> list[Report]:
        return [report for report in self.heard if report.client_id == order.client_id]


def order(name: str, side: Side = Side.BUY, qty: int = 100) -> Order:
    """A market order for the contract."""
    kind = OrderKind.ENTRY if side is Side.BUY else OrderKind.EXIT
    return Order(name, name, "contract", _SYMBOL, side, kind, Decimal(qty), reference=10.0)


class VenueContract:
    """Subclass it in a test module as `TestMyVenue`, give `make_venue`, and run pytest.

    `market.price(symbol, value)` and `market.step()` drive the venue by hand: an adapter is tried against a stand-in for its
    broker that fills at those prices. Orders are market orders; all of them must come to an end within fifty steps.
    """

    def make_venue(self, market: Market) -> Venue:
        """The venue under test, on `market`."""
        raise NotImplementedError

    def test_an_order_is_acknowledged(self) -> None:
        async def story(session: _Session) -> None:
            sent = order("ack")
            await session.venue.submit(sent)
            await session.settle()
            told = [report.status for report in session.of(sent)]
            assert ReportStatus.ACCEPTED in told, f"never acknowledged: {told}"

        self._run(story)

    def test_the_same_order_twice_is_one_order(self) -> None:
        async def story(session: _Session) -> None:
            for _ in range(2):
                await session.venue.submit(order("twice"))
            await session.settle()
            await session.venue.submit(order("twice"))
            await session.turn(3)
            assert await session.venue.positions() == {_SYMBOL: Decimal(100)}

        self._run(story)

    def test_no_fill_is_reported_twice(self) -> None:
        async def story(session: _Session) -> None:
            sent = order("fills")
            await session.venue.submit(sent)
            await session.settle()
            await session.turn(3)
            fills = [report for report in session.of(sent) if report.status in FILLS]
            names = [report.venue_trade_id for report in fills]
            assert all(names), "a fill without a venue_trade_id"
            assert len(set(names)) == len(names), f"told twice: {names}"
            total = sum((report.filled for report in fills), Decimal(0))
            assert total == sent.qty, f"{total} filled of {sent.qty}"

        self._run(story)

    def test_reports_come_in_order(self) -> None:
        async def story(session: _Session) -> None:
            sent = [order("first"), order("second")]
            for one in sent:
                await session.venue.submit(one)
                await session.turn()
            await session.settle()
            times = [report.ts for report in session.heard]
            assert times == sorted(times), "times go back"
            for one in sent:
                told = [report.status for report in session.of(one)]
                after = next((told[at + 1 :] for at, status in enumerate(told) if status in ENDS), [])
                assert not after, f"{after} after the end of an order"
                if ReportStatus.ACCEPTED in told:
                    assert told.index(ReportStatus.ACCEPTED) == 0, f"acknowledged after the fact: {told}"

        self._run(story)

    def test_positions_are_the_sum_of_the_fills(self) -> None:
        async def story(session: _Session) -> None:
            for one in (order("in"), order("out", Side.SELL, 40)):
                await session.venue.submit(one)
                await session.settle()
            assert await session.venue.positions() == {_SYMBOL: Decimal(60)}
            await session.venue.submit(order("rest", Side.SELL, 60))
            await session.settle()
            assert not {symbol: qty for symbol, qty in (await session.venue.positions()).items() if qty}

        self._run(story)

    def test_fills_have_the_price_of_the_market_and_a_fee(self) -> None:
        async def story(session: _Session) -> None:
            sent = order("price")
            session.market.price(_SYMBOL, "12.5")
            await session.venue.submit(sent)
            await session.settle()
            for report in session.of(sent):
                if report.status in FILLS:
                    assert report.price == Decimal("12.5")
                    assert report.fee >= 0
                    assert report.ts.tzinfo is not None

        self._run(story)

    def test_open_orders_are_those_without_an_end(self) -> None:
        async def story(session: _Session) -> None:
            sent = order("open")
            await session.venue.submit(sent)
            assert [one.client_id for one in await session.venue.open_orders()] in ([], [sent.client_id])
            await session.settle()
            assert any(report.status in ENDS for report in session.of(sent)), "it is not open, and no end was told"

        self._run(story)

    def test_a_cancelled_order_fills_no_more(self) -> None:
        async def story(session: _Session) -> None:
            sent = order("cancelled")
            await session.venue.submit(sent)
            await session.venue.cancel(sent.client_id)
            await session.settle()
            told = session.of(sent)
            await session.turn(5)
            assert session.of(sent) == told, "something after the end"
            filled = sum((report.filled for report in told), Decimal(0))
            held = (await session.venue.positions()).get(_SYMBOL, Decimal(0))
            assert held == filled, f"{filled} told, {held} held"

        self._run(story)

    def test_cancelling_what_is_unknown_or_over_is_no_fault(self) -> None:
        async def story(session: _Session) -> None:
            await session.venue.cancel("never-sent")
            sent = order("over")
            await session.venue.submit(sent)
            await session.settle()
            told = len(session.heard)
            await session.venue.cancel(sent.client_id)
            await session.turn(2)
            assert len(session.heard) == told

        self._run(story)

    def _run(self, story: Callable[[_Session], Awaitable[None]]) -> None:
        async def main() -> None:
            market = Market()
            market.price(_SYMBOL, 10)
            session = _Session(self.make_venue(market), market)
            listening = asyncio.create_task(session.listen())
            try:
                await story(session)
            finally:
                listening.cancel()
                with suppress(asyncio.CancelledError):
                    await listening

        asyncio.run(main())
