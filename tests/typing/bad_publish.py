"""What is no event cannot be published, and an event has the fields of its class."""

from decimal import Decimal

from eventbus import Event, InMemoryEventBus


class Fill(Event, type="typing.fill"):
    symbol: str
    price: Decimal


async def use(bus: InMemoryEventBus) -> None:
    await bus.publish(5)  # E: incompatible type "int"
    await bus.publish("typing.made", 5)  # E: incompatible type "int"
    await bus.publish("typing.made", timeout="2")  # E: incompatible type "str"
    bus.publish_nowait(None)  # E: incompatible type "None"
    Fill(symbol="AAPL", price="28.19")  # E: incompatible type "str"
    Fill(symbol="AAPL", prize=Decimal(1))  # E: Missing named argument "price"|Unexpected keyword argument "prize"
