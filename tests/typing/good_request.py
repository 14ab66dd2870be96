"""A `Request[Answer]` is answered by an `Answer`, anything else by an object."""

from decimal import Decimal
from typing import assert_type

from eventbus import Event, InMemoryEventBus, Request


class PriceOf(Request[Decimal], type="typing.price.of"):
    symbol: str


async def use(bus: InMemoryEventBus) -> None:
    assert_type(await bus.request(PriceOf(symbol="AAPL"), timeout=0.5), Decimal)
    assert_type(await bus.request(Event("typing.anything")), object)
    assert_type(await bus.request("typing.anything", {"n": 1}), object)


async def answer(ask: PriceOf) -> Decimal:
    return Decimal(len(ask.symbol))


InMemoryEventBus().subscribe(PriceOf, answer)
