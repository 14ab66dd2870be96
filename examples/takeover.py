"""Takeover: the process that handles a group is killed with work in hand; another goes on where it was, and nothing is lost.

The killed one had begun an event and not ended it: that one runs again in the other process, as its second attempt and under a
greater token, by which a store outside can tell the two apart. Over a private PostgreSQL server, offline.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process

from eventbus import Delivery, Event, create_event_bus
from eventbus.testing.servers import PostgresServer

LEASE_S = 4.0
HEAVY = 20  # the order that the first process does not live to end


async def handle(url: str) -> None:
    """A child: it reads for the group `orders`, or stands by while another does."""
    bus = create_event_bus(url, lease=LEASE_S)

    async def work(event: Event, delivery: Delivery) -> None:
        print("began", event["number"], delivery.attempt, delivery.token, flush=True)
        if event["number"] == HEAVY and delivery.attempt == 1:
            await asyncio.Event().wait()
        print("ended", event["number"], delivery.attempt, delivery.token, flush=True)

    async with bus:
        await bus.subscribe("order.placed", work, group="orders")
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def child(url: str) -> Process:
    """Start one."""
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, url, stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def said(process: Process) -> tuple[str, int, int, int]:
    """The next thing that a child did: what, the order, the attempt, the token."""
    assert process.stdout is not None
    what, *numbers = (await process.stdout.readline()).decode().split()
    number, attempt, token = map(int, numbers)
    return what, number, attempt, token


async def main(url: str) -> None:
    """Kill the first while it works, and watch the second."""
    first = await child(url)
    second = await child(url)
    async with create_event_bus(url) as bus:
        for number in range(100):
            await bus.publish("order.placed", {"number": number})
    done, token, what, number = list[int](), 0, "", 0
    while (what, number) != ("began", HEAVY):
        what, number, _attempt, token = await said(first)
        if what == "ended":
            done.append(number)
    os.kill(first.pid, signal.SIGKILL)
    killed = time.monotonic()
    print(f"process {first.pid} killed: {len(done)} orders done, in hand {number}, token {token}")

    what, number, attempt, greater = await said(second)
    print(f"process {second.pid} took over after {time.monotonic() - killed:.1f} s, token {greater}")
    # It begins with what was in hand, or earlier: what was done just before the kill, and not yet written down, is done again.
    assert what == "began"
    assert number <= len(done)
    assert attempt >= 2
    assert greater > token
    while len(done) < 100:
        what, number, _attempt, _token = await said(second)
        assert number <= len(done)
        if (what, number) == ("ended", len(done)):
            done.append(number)
    print("all 100 orders are done, in order")
    assert done == [*range(100)]
    assert second.stdin is not None
    second.stdin.close()
    await second.wait()
    await first.wait()


if __name__ == "__main__":
    if len(sys.argv) == 2:
        asyncio.run(handle(sys.argv[1]))
    else:
        with PostgresServer() as server:
            asyncio.run(main(server.url))
