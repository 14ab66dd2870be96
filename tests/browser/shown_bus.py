"""A bus without a trader, and its page: an event each 20 ms, and a handler that fails once. Prints where it is.

Its arguments are a port, 0 for any, and a file of tokens, for a gateway that asks for one.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from eventbus import InMemoryEventBus, OnFailure
from eventbus.gateway import GatewaySettings, create_gateway, serve


async def main(port: int = 0, tokens: str | None = None) -> None:
    bus = InMemoryEventBus()
    has_failed = False

    async def ship(_event: object) -> None:
        nonlocal has_failed
        if not has_failed:
            has_failed = True
            raise ConnectionError("the warehouse is closed")

    async def weigh(_event: object) -> None:
        pass

    async def feed() -> None:
        number = 0
        while True:
            number += 1
            await bus.publish("parcel.weighed", {"parcel": number, "grams": 100 + number % 900})
            await asyncio.sleep(0.02)

    bus.subscribe("parcel.weighed", weigh, name="scales")
    bus.subscribe("parcel.packed", ship, name="shipping", on_failure=OnFailure.DEAD_LETTER)
    app = create_gateway(bus, GatewaySettings(port=port, tokens=None if tokens is None else Path(tokens)))
    async with bus, asyncio.TaskGroup() as tasks:
        feeding = tasks.create_task(feed())
        await bus.publish("parcel.packed", {"parcel": 1})
        await serve(app, started=lambda url: print(url, flush=True))
        feeding.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else 0, sys.argv[2] if sys.argv[2:] else None))
