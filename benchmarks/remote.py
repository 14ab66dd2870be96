"""Remote: a bus over a server against a bare client that does the same durable work, on the same private server, whatever server it is.

A client appends an id and a body; it has no checksums, no labels, no groups. Each turn has a bus, or a log, of its own.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from pydantic_core import from_json

from benchmarks.journal import DurableTrade, Publishers, Record, records, trades
from benchmarks.rows import Aim, Now, Row, Run, speed, times
from eventbus import create_event_bus
from eventbus.testing.servers import PrivateServer

ROUNDS = 5
BULK = 1_000
PARTS = 16
WORK_S = 0.001
PUBLISHERS = Publishers(100, 1)  # of those who publish to a group in the same process
_READY = "ready"


class Client(Protocol):
    """A bare client with an empty log of its own."""

    async def append(self, rows: Sequence[Record]) -> None:
        """Durably, together."""
        ...

    def pages(self) -> AsyncIterator[list[bytes]]:
        """The bodies of all, `BULK` at a time."""
        ...


class Subject(NamedTuple):
    """A backend, its server, which lives as long as the process, and the client it is measured against."""

    name: str
    server: Callable[[], PrivateServer]
    driver: str
    client: Callable[[], AbstractAsyncContextManager[Client]]

    def fresh_url(self) -> str:
        """Of a bus that nobody used before."""
        return f"{self.server().url}?name=bench_{secrets.token_hex(6)}"

    def rows(self) -> tuple[Row, ...]:
        """What is asked of every server."""
        shared = "two processes, 16 parts, handlers that await 1 ms"
        return (
            self._publishing("one publisher", Publishers(1, 1), 200),
            self._publishing("100 publishers", Publishers(100, 1), 5_000),
            self._publishing("`publish_many` of 1,000", Publishers(1, 1_000), 20_000),
            self.row("a group drained by one process", speed(0.5), self._draining, self._reading, 10_000),
            self.row(
                "one event from publishing to its handler, p50", times(2), self._end_to_end, self._round_trip, 200
            ),
            self.row(shared, speed(1.6), self._sharing(2), self._sharing(1), 5_000, "one process"),
        )

    def against_framework(self, name: str, through: Run) -> Row:
        """Of a backend that a framework has too: from the publishing to the handlers of a group in the same process."""
        return self.row("100 publishers to a group", speed(1.0), self._through, through, 2_000, name)

    def row(self, name: str, aim: Aim, bus: Run, raw: Run, count: int, against: str = "") -> Row:
        """Against the bare client, where nothing else is said."""
        named = f"{self.name}: {name}"
        return Row(named, aim, bus, raw, against=against or self.driver, clock="wall", rounds=ROUNDS, count=count)

    def _publishing(self, name: str, publishers: Publishers, count: int) -> Row:
        """The client appends as many at a time as there are publishers, or as one publishes at once."""

        async def raw(count: int, now: Now) -> float:
            rows, size = records(count), max(publishers.number, publishers.size)
            async with self.client() as client:
                began = now()
                for at in range(0, count, size):
                    await client.append(rows[at : at + size])
                return (now() - began) / count

        async def bus(count: int, now: Now) -> float:
            events = trades(count)
            async with create_event_bus(self.fresh_url()) as bus:
                if publishers.size == 1:
                    return await publishers.seconds(events, lambda one: bus.publish(*one), now) / count
                return await publishers.seconds(events, bus.publish_many, now) / count

        return self.row(name, speed(0.8), bus, raw, count)

    async def _reading(self, count: int, now: Now) -> float:
        """A page at a time, and the JSON read."""
        async with self.client() as client:
            rows = records(count)
            for at in range(0, count, BULK):
                await client.append(rows[at : at + BULK])
            began, read = now(), 0
            async for page in client.pages():
                for body in page:
                    from_json(body)
                read += len(page)
            taken = now() - began
        if read != count:
            raise AssertionError(f"{read} of {count} were read")
        return taken / count

    async def _draining(self, count: int, now: Now) -> float:
        """A group of one process handles what was there before, and commits it."""
        url, handled, done = self.fresh_url(), 0, asyncio.Event()

        async def handle(_event: DurableTrade) -> None:
            nonlocal handled
            handled += 1
            if handled == count:
                done.set()

        async with create_event_bus(url) as bus:
            await bus.subscribe(DurableTrade, handle, group="ledger")
        async with create_event_bus(url) as bus:
            for at in range(0, count, BULK):
                await bus.publish_many(trades(min(BULK, count - at)))
        bus = create_event_bus(url)
        bus.subscribe(DurableTrade, handle, group="ledger")
        async with bus:
            began = now()
            await done.wait()
            await bus.drain()
            taken = now() - began
        if handled != count:
            raise AssertionError(f"{handled} of {count} were handled")
        return taken / count

    async def _through(self, count: int, now: Now) -> float:
        """From the publishing to the last handler, and its commit."""
        handled, done = 0, asyncio.Event()

        async def handle(_event: DurableTrade) -> None:
            nonlocal handled
            handled += 1
            if handled == count:
                done.set()

        events = trades(count)
        async with create_event_bus(self.fresh_url()) as bus:
            await bus.subscribe(DurableTrade, handle, group="ledger")
            began = now()
            await PUBLISHERS.seconds(events, lambda one: bus.publish(*one), now)
            await done.wait()
            await bus.drain()
            return (now() - began) / count

    async def _round_trip(self, count: int, now: Now) -> float:
        """The median of an append of one."""
        taken = []
        async with self.client() as client:
            for row in records(count):
                began = now()
                await client.append([row])
                taken.append(now() - began)
        return statistics.median(taken)

    async def _end_to_end(self, count: int, now: Now) -> float:
        """The median from publishing one event to its handler, of a subscription without a group."""
        taken: list[float] = []
        came = asyncio.Event()

        async def handle(_event: DurableTrade) -> None:
            taken.append(now() - began)
            came.set()

        async with create_event_bus(self.fresh_url()) as bus:
            bus.subscribe(DurableTrade, handle)
            for event in trades(count):
                came.clear()
                began = now()
                await bus.publish(event)
                await came.wait()
        return statistics.median(taken)

    def _sharing(self, processes: int) -> Run:
        """So many processes share a group of 16 parts whose handler awaits 1 ms: from the publishing to the last commit."""

        async def run(count: int, now: Now) -> float:
            url = self.fresh_url()
            async with create_event_bus(url) as bus:
                workers = [await _worker(url) for _ in range(processes)]
                for worker in workers:
                    await _says(worker, str(PARTS // processes))
                began = now()
                for at in range(0, count, BULK):
                    await bus.publish_many(trades(min(BULK, count - at)))
                settled = 0
                while settled < count:  # other processes make it so
                    await asyncio.sleep(0.01)
                    cursors = [await bus.journal.committed(f"ledger/{part}") for part in range(PARTS)]
                    settled = sum(sum(cursor.totals.values()) for cursor in cursors if cursor is not None)
                taken = now() - began
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.close()
                await worker.communicate()
            return taken / count

        return run


async def _worker(url: str) -> Process:
    """A process of its own that is subscribed; the end of its input is its end."""
    worker = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, url, stdin=PIPE, stdout=PIPE)
    await _says(worker, _READY)
    return worker


async def _says(worker: Process, wanted: str) -> None:
    assert worker.stdout is not None
    while (await worker.stdout.readline()).decode().strip() != wanted:
        pass


async def work(url: str) -> None:
    """What such a process does. It says how many parts it has, whenever that changes."""

    def say(word: object) -> None:
        sys.stdout.write(f"{word}\n")
        sys.stdout.flush()

    async def handle(_event: DurableTrade) -> None:
        await asyncio.sleep(WORK_S)

    async with create_event_bus(url) as bus:
        await bus.subscribe(DurableTrade, handle, group="ledger", concurrency=PARTS, key="order_id")
        say(_READY)
        ending, held = asyncio.create_task(asyncio.to_thread(sys.stdin.read)), 0
        while not ending.done():
            if (now_held := bus.stats().groups[0].held) != held:
                held = now_held
                say(held)
            await asyncio.wait([ending], timeout=0.02)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
