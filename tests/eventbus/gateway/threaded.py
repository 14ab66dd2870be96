"""A gateway in a thread of its own, for clients that block, with a watchdog on its loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

from eventbus import EventBus, InMemoryEventBus
from eventbus.gateway import GatewaySettings, create_gateway, serve
from eventbus.observability import LoopWatchdog

PATIENCE_S = 120.0
BLOCK_S = 0.25


@dataclass
class Watched:
    """Where it listens, its bus, and what saw its loop stand still."""

    url: str
    bus: EventBus
    watchdog: LoopWatchdog


@contextmanager
def gateway_in_a_thread(settings: GatewaySettings) -> Iterator[Watched]:
    """Serve until the block ends."""
    listening: Future[tuple[Watched, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def main() -> None:
        bus, until = InMemoryEventBus(), asyncio.Event()
        loop = asyncio.get_running_loop()
        app = create_gateway(bus, settings)
        with LoopWatchdog(loop, BLOCK_S) as watchdog:

            def started(url: str) -> None:
                listening.set_result((Watched(url, bus, watchdog), loop, until))

            await serve(app, started=started, until=until)

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            if listening.done():
                raise
            listening.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    watched, loop, until = listening.result(PATIENCE_S)
    try:
        yield watched
    finally:
        loop.call_soon_threadsafe(until.set)
        thread.join(PATIENCE_S)
