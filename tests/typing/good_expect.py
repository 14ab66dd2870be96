"""`expect` and `last` give what they were asked for."""

from typing import assert_type

from eventbus import Event, InMemoryEventBus


class Fill(Event, type="typing.fill", retain=True):
    symbol: str


async def use(bus: InMemoryEventBus) -> None:
    assert_type(await bus.expect(Fill, where=lambda fill: fill.symbol == "AAPL", timeout=5), Fill)
    assert_type(await bus.expect("typing.*"), Event)
