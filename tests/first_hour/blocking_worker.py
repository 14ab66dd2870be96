"""A worker that blocks: four at once in threads, while the loop goes on; the watchdog names the one that blocks the loop."""

import asyncio
import threading
import time

from eventbus import Event, InMemoryEventBus
from eventbus.observability import Block, LoopWatchdog


async def main() -> None:
    bus = InMemoryEventBus(max_workers=4)
    together = threading.Barrier(4)
    blocks: list[Block] = []

    @bus.on("report.asked", concurrency=4)
    def write(event: Event) -> None:
        together.wait(timeout=60)  # it only opens when four are in here at the same time

    @bus.on("oops")
    async def clumsy(event: Event) -> None:
        time.sleep(2)  # noqa: ASYNC251 - what a beginner does

    with LoopWatchdog(bus, threshold=0.1, on_block=blocks.append):
        async with bus:
            for number in range(8):
                await bus.publish("report.asked", {"number": number})
            assert await bus.drain(timeout=60)
            await bus.publish_and_wait("oops")
    assert blocks, "the watchdog saw it"
    assert any("clumsy" in str(block) for block in blocks), blocks
    print("eight reports, four at once;", len(blocks), "block told")


asyncio.run(main())
