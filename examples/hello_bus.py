"""Hello, bus: a typed event, three ways to listen, and proof of what became of it.

Run it: python examples/hello_bus.py
"""

from __future__ import annotations

import asyncio
from decimal import Decimal

from eventbus import Event, InMemoryEventBus, Kind


class CoffeeSoldEvent(Event, type="coffee.sold", kind=Kind.EXECUTION, key="till"):
    """A cup went over the counter. The price is in euros."""

    till: int
    kind: str
    price: Decimal


async def main() -> None:
    bus = InMemoryEventBus()
    heard: list[str] = []

    @bus.on(CoffeeSoldEvent)  # by class: the event arrives typed
    async def keep_the_books(event: CoffeeSoldEvent) -> None:
        heard.append(f"books: {event.kind} for {event.price}")

    @bus.on("coffee.*")  # by wildcard; a plain function runs in the thread pool
    def count_cups(event: Event) -> None:
        heard.append(f"counter: {event['kind']}")

    @bus.on("coffee.sold")  # by name; it fails, and that concerns nobody else
    async def broken_display(event: Event) -> None:
        raise OSError("display unplugged")

    async with bus:
        receipt = await bus.publish(CoffeeSoldEvent(till=1, kind="espresso", price=Decimal("2.20")))
        outcomes = await receipt

    for line in sorted(heard):
        print(line)
    for outcome in outcomes:
        print(f"{outcome.subscription}: {outcome.status.value}")

    assert sorted(heard) == ["books: espresso for 2.20", "counter: espresso"]
    assert sorted(outcome.status.value for outcome in outcomes) == ["dead_lettered", "succeeded", "succeeded"]
    assert len(bus.dead_letters) == 1
    print("nothing was lost: what failed is kept as a dead letter, with its reason")


if __name__ == "__main__":
    asyncio.run(main())
