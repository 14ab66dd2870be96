"""A stream yields what it was asked for."""

from typing import assert_type

from eventbus import Event, InMemoryEventBus


class Fill(Event, type="typing.fill"):
    symbol: str


async def use(bus: InMemoryEventBus) -> None:
    async with bus.stream(Fill, queue_size=10, overflow="drop_oldest") as fills:
        async for fill in fills:
            assert_type(fill, Fill)
    async with bus.stream("typing.*") as events:
        async for event in events:
            assert_type(event, Event)
