"""What comes out of stream, expect and last is the event that was asked for, and nothing else."""

from eventbus import Event, InMemoryEventBus


class Fill(Event, type="typing.fill", retain=True):
    symbol: str


class Order(Event, type="typing.order"):
    symbol: str


async def use(bus: InMemoryEventBus) -> None:
    async with bus.stream(Fill) as fills:
        async for fill in fills:
            print(fill.size)  # E: "Fill" has no attribute "size"
    order: Order = await bus.expect(Fill)  # E: incompatible type|Incompatible types|"expect"
    last: Order | None = bus.last(Fill)  # E: incompatible type|Incompatible types|"last"
    print(bus.last(Fill).symbol)  # E: has no attribute "symbol"
    print(order, last)
