"""The bus as a service of an application: started with it, injected into its controllers, scraped while it runs, ended with it.

No framework is needed: a constructor argument is the injection, an async context manager the start-up and the end.
"""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal

from eventbus import Event, InMemoryEventBus, create_event_bus
from eventbus.observability import serve_metrics


class OrderPlacedEvent(Event, type="shop.order_placed", key="order_id"):
    """A customer ordered. The total is in euros."""

    order_id: int
    total: Decimal


class OrderController:
    """Turns requests into facts. It knows the bus that it is given, and nobody who listens."""

    def __init__(self, bus: InMemoryEventBus) -> None:
        self._bus = bus

    async def place(self, order_id: int, total: str) -> str:
        receipt = await self._bus.publish(OrderPlacedEvent(order_id=order_id, total=Decimal(total)))
        return receipt.event_id


class RevenueController:
    """Answers questions from what it heard."""

    def __init__(self, bus: InMemoryEventBus) -> None:
        self.total = Decimal(0)
        bus.subscribe(OrderPlacedEvent, self.on_order_placed, name="revenue")

    async def on_order_placed(self, event: OrderPlacedEvent) -> None:
        self.total += event.total


@dataclass
class Application:
    """What the start-up builds, in one place."""

    bus: InMemoryEventBus
    orders: OrderController = field(init=False)
    revenue: RevenueController = field(init=False)

    def __post_init__(self) -> None:
        self.orders = OrderController(self.bus)
        self.revenue = RevenueController(self.bus)


@asynccontextmanager
async def lifespan() -> AsyncIterator[Application]:
    """Build, start, hand out; at the end drain and stop. Web frameworks take exactly such a function."""
    bus = create_event_bus("memory://")
    assert isinstance(bus, InMemoryEventBus)
    async with bus:
        yield Application(bus)
    print("the bus drained and ended with the application")


def scrape(url: str) -> dict[str, float]:
    """The samples of a metrics page, by name with labels."""
    with urllib.request.urlopen(url, timeout=60) as page:
        lines = page.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


async def main() -> None:
    async with lifespan() as application:
        with serve_metrics(application.bus, 0) as server:
            ids = await asyncio.gather(*(application.orders.place(number, "12.50") for number in range(100)))
            await application.bus.drain()
            samples = await asyncio.to_thread(scrape, server.url)
        published = sum(value for name, value in samples.items() if name.startswith("eventbus_published_events_total"))
        print(
            f"{len(set(ids))} orders, revenue {application.revenue.total}, {published:.0f} events on the metrics page"
        )
        assert application.revenue.total == Decimal("1250.00")
        assert published == application.bus.get_stats()["published"] == 100


if __name__ == "__main__":
    asyncio.run(main())
