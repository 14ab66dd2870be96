"""How a group works through a backlog over a server: what is begun next is counted in the write that commits what ended before."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from eventbus import Event, create_event_bus
from eventbus.durability.share import MOST
from eventbus.testing import Recorder
from eventbus.testing.servers import PostgresServer

pytestmark = pytest.mark.server

BATCHES = 6


async def writes(url: str, name: str) -> int:
    """How often the cursors of a bus were written: each write counts one more revision."""
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(f"SELECT max(revision) FROM {name}.cursors"))
    finally:
        await connection.close()


@pytest.mark.parametrize("parts", [1, 4])
async def test_a_backlog_takes_few_writes_for_each_256_deliveries_of_a_part(
    postgres_server: PostgresServer, parts: int
) -> None:
    name, seen, done = f"drain_{parts}", list[int](), asyncio.Event()
    url = f"{postgres_server.url}?name={name}"
    events = [Event("t.x", payload={"n": n}) for n in range(BATCHES * MOST * parts)]
    async with create_event_bus(url) as bus:
        await bus.subscribe("t.*", Recorder(), group="books", parts=parts)
    async with create_event_bus(url) as bus:
        for at in range(0, len(events), 1_000):
            await bus.publish_many(events[at : at + 1_000])

    async def handle(event: Event) -> None:
        seen.append(event["n"])
        if len(seen) == len(events):
            done.set()

    before = await writes(postgres_server.url, name)
    bus = create_event_bus(url)
    bus.subscribe("t.*", handle, group="books", parts=parts)
    async with bus, asyncio.timeout(60):
        await done.wait()
        assert await bus.drain(60)
    assert sorted(seen) == list(range(len(events)))
    assert parts > 1 or seen == sorted(seen)
    # Two for each 128 are 4 * BATCHES: what ends while the loop is busy elsewhere has a write of its own at times, and not always.
    assert await writes(postgres_server.url, name) - before < 4 * BATCHES
