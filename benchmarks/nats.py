"""NATS: the rows of every server, against nats-py, and one against FastStream. The server syncs before each acknowledgement."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib import import_module
from typing import Any

import nats
from nats.errors import TimeoutError as NothingMore
from nats.js.api import AckPolicy, ConsumerConfig

from benchmarks.journal import Record, trades
from benchmarks.remote import BULK, PUBLISHERS, Client, Subject
from benchmarks.rows import Now
from eventbus.testing.servers import NatsServer
from eventbus.testing.servers.nats import PASSWORD, USER


@cache
def server() -> NatsServer:
    """One for the whole run; it ends with the process."""
    started = NatsServer()
    started.start()
    return started


class NatsPyClient:
    """A stream that nobody else uses."""

    def __init__(self, connection: Any) -> None:
        self._js = connection.jetstream(publish_async_max_pending=2 * BULK)
        self._stream = f"raw-{secrets.token_hex(6)}"

    async def make(self) -> None:
        await self._js.add_stream(name=self._stream, subjects=[f"{self._stream}.>"])

    async def append(self, rows: Sequence[Record]) -> None:
        """All under way at once, or one alone: the client has no batches."""
        asked = [
            await self._js.publish_async(f"{self._stream}.x", body, headers={"Nats-Msg-Id": id_}) for id_, body in rows
        ]
        await asyncio.gather(*asked)

    async def pages(self) -> AsyncIterator[list[bytes]]:
        config = ConsumerConfig(ack_policy=AckPolicy.NONE)
        reader = await self._js.pull_subscribe(f"{self._stream}.>", stream=self._stream, config=config)
        try:
            while (await reader.consumer_info()).num_pending:
                yield [message.data for message in await reader.fetch(BULK, timeout=5)]
        except NothingMore:
            return


@asynccontextmanager
async def client() -> AsyncIterator[Client]:
    """On one connection."""
    connection = await nats.connect(f"127.0.0.1:{server().port}", user=USER, password=PASSWORD)
    try:
        made = NatsPyClient(connection)
        await made.make()
        yield made
    finally:
        await connection.close()


async def through_faststream(count: int, now: Now) -> float:
    """As the bus does it: a stream, a durable consumer, the body as JSON, an acknowledgement for each message."""
    faststream: Any = import_module("faststream.nats")  # only who measures has it
    name, handled, done = f"fast-{secrets.token_hex(6)}", 0, asyncio.Event()
    who = import_module("faststream.security").SASLPlaintext(username=USER, password=PASSWORD)
    broker = faststream.NatsBroker(f"127.0.0.1:{server().port}", security=who, logger=None)

    async def handle(_event: dict[str, Any]) -> None:
        nonlocal handled
        handled += 1
        if handled == count:
            done.set()

    stream = faststream.JStream(name, subjects=[f"{name}.>"])
    pull = faststream.PullSub(batch_size=BULK)
    broker.subscriber(f"{name}.x", stream=stream, durable="ledger", pull_sub=pull)(handle)
    bodies = [event.model_dump(mode="json") for event in trades(count)]
    async with broker:
        await broker.start()
        began = now()
        await PUBLISHERS.seconds(bodies, lambda one: broker.publish(one[0], f"{name}.x", stream=name), now)
        await done.wait()
        return (now() - began) / count


SUBJECT = Subject("nats", server, "nats-py", client)
ROWS = (
    *SUBJECT.rows(),
    SUBJECT.against_framework("FastStream", through_faststream),
)
