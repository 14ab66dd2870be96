"""Gateway: a gateway served on a free port of this process, and clients that talk to it over real sockets. Needs the extra `gateway`.

For tests of what is built on a gateway: nothing in it waits for a time, only for what has to come.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self, cast

import websockets
from fastapi import FastAPI
from pydantic_core import from_json

from eventbus import Clock, EventBus, InMemoryEventBus
from eventbus.gateway import Followed, GatewaySettings, create_gateway, serve
from eventbus.gateway.gateway import Gateway
from eventbus.gateway.sockets import Sockets

PATIENCE_S = 120.0  # for what takes milliseconds, on a machine that has nothing else to do
Message = dict[str, Any]


async def until(is_so: Callable[[], object]) -> None:
    """Wait until it is so. Raises `TimeoutError` after a while."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 - it may be anything, and nobody tells
            await asyncio.sleep(0.001)


class Peer:
    """A client. What it reads it keeps. Every wait fails after a while with `TimeoutError`."""

    def __init__(self, connection: websockets.ClientConnection) -> None:
        self.connection = connection
        self.seen: list[Message] = []
        self.welcome: Message = {}

    async def say(self, **message: Any) -> Self:
        """Send a message."""
        await self.connection.send(json.dumps(message))
        return self

    async def next(self) -> Message:
        """The next message."""
        async with asyncio.timeout(PATIENCE_S):
            self.seen.append(from_json(await self.connection.recv()))
        return self.seen[-1]

    async def until(self, kind: str, **fields: Any) -> Message:
        """Read up to a message of this type with these fields."""
        while True:
            message = await self.next()
            if message["type"] == kind and all(message.get(name) == value for name, value in fields.items()):
                return message

    async def ask(self, **message: Any) -> Message:
        """Send a message; its answer, or the next message at least."""
        await self.say(**message)
        return await self.next()

    async def sync(self) -> list[Message]:
        """Everything that was sent to it by now, since the last time."""
        at = len(self.seen)
        await self.say(type="ping", t="sync")
        await self.until("pong", t="sync")
        return self.seen[at:-1]

    async def subscribe(self, *topics: str, **fields: Any) -> Message:
        """Listen; gives `subscribed`."""
        await self.say(type="subscribe", topics=list(topics), **fields)
        return await self.until("subscribed")

    async def closed(self) -> tuple[int, str]:
        """Read to the end; how it was closed."""
        try:
            while True:
                await self.next()
        except websockets.ConnectionClosed as closed:
            received = closed.rcvd
            return (1006, "") if received is None else (received.code, received.reason)

    @property
    def events(self) -> list[Message]:
        """The events that it was sent, batches taken apart."""
        found: list[Message] = []
        for message in self.seen:
            found += [message] if message["type"] == "event" else message.get("events", ())
        return found

    @property
    def seqs(self) -> list[int]:
        """Their numbers."""
        return [event["seq"] for event in self.events]


class Served:
    """A gateway that is served."""

    def __init__(self, app: FastAPI, bus: EventBus, url: str, until: asyncio.Event, task: asyncio.Task[None]) -> None:
        self.app = app
        self.bus = bus
        self.url = url
        self._until = until
        self._task = task

    @property
    def gateway(self) -> Gateway:
        """What its routes share."""
        return cast(Gateway, self.app.state.gateway)

    @property
    def sockets(self) -> Sockets:
        """What its WebSocket connections share."""
        return self.gateway.sockets

    @asynccontextmanager
    async def connect(self, **options: Any) -> AsyncIterator[Peer]:
        """A client that was welcomed."""
        url = self.url.replace("http", "ws") + "/api/v1/ws"
        options = {"max_size": None, "ping_interval": None, "open_timeout": PATIENCE_S, **options}
        async with websockets.connect(url, **options) as connection:
            peer = Peer(connection)
            peer.welcome = await peer.next()
            yield peer

    async def stop(self) -> None:
        """End in order."""
        self._until.set()
        await self._task


async def serve_here(
    bus: EventBus | Followed | None = None, *, settings: GatewaySettings | None = None, clock: Clock | None = None
) -> Served:
    """Serve a bus, a new one in memory unless given, or a journal that another writes, until `stop()`."""
    bus = bus or InMemoryEventBus()
    app = create_gateway(bus, settings or GatewaySettings(port=0), clock=clock)
    listening, until = asyncio.get_running_loop().create_future(), asyncio.Event()
    task = asyncio.create_task(serve(app, started=listening.set_result, until=until))
    await asyncio.wait([listening, task], return_when=asyncio.FIRST_COMPLETED)
    if not listening.done():
        await task
    return Served(app, app.state.gateway.bus, listening.result(), until, task)
