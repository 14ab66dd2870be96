"""Redis: the rows of every server, against redis-py, and one against FastStream. The server writes to its disk before each answer."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib import import_module
from typing import Any

from redis.asyncio import Redis

from benchmarks.journal import Record, trades
from benchmarks.remote import BULK, PUBLISHERS, Client, Subject
from benchmarks.rows import Now
from eventbus.testing.servers import RedisServer


@cache
def server() -> RedisServer:
    """One for the whole run; it ends with the process."""
    started = RedisServer()
    started.start()
    return started


class RedisPyClient:
    """A stream that nobody else uses."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._stream = f"raw:{secrets.token_hex(6)}"

    async def append(self, rows: Sequence[Record]) -> None:
        """One after the other in one pipeline, or alone."""
        if len(rows) == 1:
            await self._redis.xadd(self._stream, {"id": rows[0][0], "body": rows[0][1]})
            return
        pipeline = self._redis.pipeline(transaction=False)
        for id_, body in rows:
            pipeline.xadd(self._stream, {"id": id_, "body": body})
        await pipeline.execute()

    async def pages(self) -> AsyncIterator[list[bytes]]:
        at = "-"
        while page := await self._redis.xrange(self._stream, at, "+", BULK):
            at = f"({page[-1][0].decode()}"
            yield [fields[b"body"] for _, fields in page]


@asynccontextmanager
async def client() -> AsyncIterator[Client]:
    """One client, with a pool of its own."""
    redis: Any = Redis.from_url(server().url)
    async with redis:
        yield RedisPyClient(redis)


async def through_faststream(count: int, now: Now) -> float:
    """As the bus does it: a stream, a group, the body as JSON, an acknowledgement for each message."""
    faststream: Any = import_module("faststream.redis")  # only who measures has it
    stream, handled, done = secrets.token_hex(6), 0, asyncio.Event()
    broker = faststream.RedisBroker(server().url, logger=None, max_connections=2 * PUBLISHERS.number)

    async def handle(_event: dict[str, Any]) -> None:
        nonlocal handled
        handled += 1
        if handled == count:
            done.set()

    reads = faststream.StreamSub(stream, group="ledger", consumer="one", max_records=BULK)
    broker.subscriber(stream=reads)(handle)
    bodies = [event.model_dump(mode="json") for event in trades(count)]
    async with broker:
        await broker.start()
        began = now()
        await PUBLISHERS.seconds(bodies, lambda one: broker.publish(one[0], stream=stream), now)
        await done.wait()
        return (now() - began) / count


SUBJECT = Subject("redis", server, "redis-py", client)
ROWS = (
    *SUBJECT.rows(),
    SUBJECT.against_framework("FastStream", through_faststream),
)
