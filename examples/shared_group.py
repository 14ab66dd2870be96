"""Two processes share a group: each handles the accounts of its parts, every event once, each account in order.

The parent publishes; two children handle, and print what they did. Over a private PostgreSQL server, offline.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter

from eventbus import Event, create_event_bus
from eventbus.testing.servers import PostgresServer

CHILDREN, ACCOUNTS = 2, 40


class PaymentBookedEvent(Event, type="payment.booked", key="account"):
    """Money came to an account, in cents."""

    account: str
    number: int
    cents: int


async def handle(url: str) -> None:
    """A child: one of those that read for the group `ledger`, until its input ends."""
    bus = create_event_bus(url, lease=30.0)

    async def book(event: PaymentBookedEvent) -> None:
        print("booked", event.number, event.account, flush=True)

    async with bus:
        await bus.subscribe(PaymentBookedEvent, book, group="ledger", concurrency=4)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def child(url: str) -> Process:
    """Start one."""
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, url, stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def publish(url: str) -> None:
    """Start the children, publish until both have worked, and look at what they printed."""
    children = [await child(url) for _ in range(CHILDREN)]
    booked: dict[int, list[tuple[int, str]]] = {process.pid: [] for process in children}

    async def listen(process: Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            _, number, account = line.decode().split()
            booked[process.pid].append((int(number), account))

    listening = [asyncio.create_task(listen(process)) for process in children]
    number = 0
    async with create_event_bus(url) as bus:
        while not all(len(mine) > 50 for mine in booked.values()):
            for _ in range(50):
                account = f"account-{number % ACCOUNTS}"
                await bus.publish(PaymentBookedEvent(account=account, number=number, cents=number % 100))
                number += 1
        while sum(map(len, booked.values())) < number:  # noqa: ASYNC110 - children say one by one what they did
            await asyncio.sleep(0.01)
    for process in children:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
    await asyncio.gather(*listening)

    for pid, mine in booked.items():
        print(f"process {pid} booked {len(mine)} payments of {len({account for _, account in mine})} accounts")
    together = [each for mine in booked.values() for each in mine]
    assert Counter(n for n, _ in together) == Counter(range(number)), "each payment once"
    for mine in booked.values():
        for account in {account for _, account in mine}:
            order = [n for n, whose in mine if whose == account]
            assert order == sorted(order), "each account in order"


if __name__ == "__main__":
    if len(sys.argv) == 2:
        asyncio.run(handle(sys.argv[1]))
    else:
        with PostgresServer() as server:
            asyncio.run(publish(server.url))
