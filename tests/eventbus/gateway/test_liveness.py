"""Who is there and who follows: heartbeats by a clock that the test moves, and clients that do not read; over real sockets."""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from eventbus import Event, EventBus, Kind
from eventbus.gateway import line
from eventbus.gateway.client import Client
from eventbus.testing import VirtualClock
from eventbus.testing.gateway import PATIENCE_S, Served, until

Serving = Callable[..., Awaitable[Served]]
PAD = "x" * 60_000


class Quote(Event, type="live.quote", kind=Kind.QUOTE, key="symbol"):
    """A price."""

    symbol: str
    price: int
    pad: str = ""


class Raw:
    """A client that does nothing by itself: it answers no ping, and reads only when it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, opcode: int, data: bytes = b"") -> None:
        """A masked frame."""
        size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack("!H", len(data))
        self.writer.write(bytes([0x80 | opcode]) + size + b"\0\0\0\0" + data)

    async def frame(self) -> tuple[int, bytes]:
        """The next frame."""
        async with asyncio.timeout(PATIENCE_S):
            first, size = await self.reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 15, await self.reader.readexactly(size)

    async def closed(self) -> tuple[int, str]:
        """Read to the close frame."""
        while True:
            opcode, data = await self.frame()
            if opcode == 8:
                return struct.unpack("!H", data[:2])[0], data[2:].decode()


@asynccontextmanager
async def raw(served: Served) -> AsyncIterator[Raw]:
    """A handshake by hand."""
    where = urlsplit(served.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /api/v1/ws HTTP/1.1\r\nHost: {where.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    peer = Raw(reader, writer)
    assert (await peer.frame())[1].startswith(b'{"type":"welcome"')
    try:
        yield peer
    finally:
        writer.transport.abort()


async def heard(client: Client, clock: VirtualClock) -> None:
    """Until something has come from it at this moment."""
    await until(lambda: not client.is_gone(clock.monotonic_ns(), 1e-9))


async def test_ten_minutes_of_silence_and_heartbeats(serving: Serving) -> None:
    clock = VirtualClock()
    served = await serving(clock=clock)
    hub = served.sockets.hub
    async with served.connect() as listener, served.connect() as talker, raw(served) as dead:
        silent, talking, gone = hub.clients
        for second in range(600):
            clock.move(1)
            hub.beat()
            if second % 20 == 19:
                await heard(silent, clock)  # it answers pings, and does nothing else
            if second % 30 == 29:
                await talker.ask(type="ping")
                await heard(talking, clock)
            if second == 88:
                assert len(hub) == 3
            if second == 89:
                assert await dead.closed() == (1011, "nobody there")
                await until(lambda: len(hub) == 2)
        assert hub.clients == (silent, talking)
        assert gone.line.is_open is False
        assert (await listener.ask(type="ping"))["type"] == "pong"
        assert served.sockets.counts.closed == {1011: 1}


async def fill(bus: EventBus, client: Client) -> None:
    """Publish until it has fallen behind for good: its outbox is full."""
    while not client.is_full:
        await bus.publish("large.made", {"pad": PAD})
        await bus.drain()
        await asyncio.sleep(0)


async def test_who_does_not_read_is_told_where_to_go_on_and_nobody_else_notices(serving: Serving) -> None:
    clock = VirtualClock()
    served = await serving(clock=clock)
    async with served.connect() as slow, served.connect() as other:
        await slow.subscribe("*")
        await other.subscribe("*")
        (client, _) = served.sockets.hub.clients
        slow.connection.transport.pause_reading()
        reading = asyncio.create_task(other.until("event", seq=1_000))
        await fill(served.bus, client)
        served.sockets.hub.beat()
        clock.move(4.9)
        served.sockets.hub.beat()
        assert client.line.is_open
        clock.move(0.1)
        served.sockets.hub.beat()
        assert not client.line.is_open
        slow.connection.transport.resume_reading()
        code, reason = await slow.closed()
        assert code == 1013
        assert reason == f"slow_consumer seq={slow.seqs[-1]}"
        assert served.sockets.seq > slow.seqs[-1]
        for _ in range(1_000 - served.sockets.seq):
            await served.bus.publish("small.made", {})
        await reading
        assert other.seqs == [*range(1, 1_001)]
        async with served.connect() as again:
            await again.subscribe("*", after=slow.seqs[-1], epoch=served.sockets.epoch)
            await again.until("caught_up")
            assert slow.seqs + again.seqs == [*range(1, 1_001)]
        assert served.sockets.counts.closed[1013] == 1


async def test_who_does_not_read_its_close_frame_either_is_cut_off(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "LAST_WORD_S", 0.05)
    clock = VirtualClock()
    served = await serving(clock=clock)
    async with raw(served) as dead:
        dead.send(1, b'{"type":"subscribe","topics":["*"]}')
        assert b"subscribed" in (await dead.frame())[1]
        (client,) = served.sockets.hub.clients
        dead.writer.transport.pause_reading()  # type: ignore[attr-defined] # a socket has it
        await fill(served.bus, client)
        clock.move(5)
        served.sockets.hub.beat()
        await until(lambda: not len(served.sockets.hub) and not client.line.buffered)


async def test_who_catches_up_in_time_stays(serving: Serving) -> None:
    clock = VirtualClock()
    served = await serving(clock=clock)
    async with served.connect() as peer:
        await peer.subscribe("*")
        (client,) = served.sockets.hub.clients
        for _ in range(2):
            peer.connection.transport.pause_reading()
            await fill(served.bus, client)
            clock.move(4.9)
            served.sockets.hub.beat()
            peer.connection.transport.resume_reading()
            await peer.until("event", seq=served.sockets.seq)
            await until(lambda: not client.is_behind)
            clock.move(4.9)
            served.sockets.hub.beat()
        await peer.sync()
        assert peer.seqs == [*range(1, served.sockets.seq + 1)]


async def test_quotes_give_way_to_newer_ones_and_the_gap_says_so(serving: Serving) -> None:
    served = await serving()
    async with served.connect() as peer:
        await peer.subscribe("live.*", id="q")
        await peer.subscribe("large.*")
        (client,) = served.sockets.hub.clients
        peer.connection.transport.pause_reading()
        while not client.is_behind:
            await served.bus.publish("large.made", {"pad": PAD})
            await served.bus.drain()
            await asyncio.sleep(0)
        first = served.sockets.seq + 1
        for price in range(2_000):
            await served.bus.publish(Quote(symbol=f"S{price % 3}", price=price))
        await served.bus.drain()
        peer.connection.transport.resume_reading()
        await peer.sync()
        quotes = [event for event in peer.events if event["payload"]["type"] == "live.quote"]
        gaps = [one for one in peer.seen if one["type"] == "gap"]
        assert len(quotes) + sum(gap["dropped"] for gap in gaps) == 2_000
        assert {gap["topic"] for gap in gaps} == {"live.*"}
        assert all(gap["id"] == "q" and first <= gap["first"] <= gap["last"] < first + 2_000 for gap in gaps)
        assert [event["payload"]["payload"]["price"] for event in quotes[-3:]] == [1997, 1998, 1999]
        assert peer.seqs == sorted(peer.seqs)
        assert served.sockets.hub.clients == (client,)


# --- what is sent wrong ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opcode", "data", "code"),
    [
        (1, b"\xff\xfe", 1007),
        (2, b"{}", 1003),
        (1, b"x" * 65_535, None),
        (3, b"", 1002),
        (9, b"x" * 126, 1002),
    ],
    ids=["not utf-8", "binary", "as long as may be", "no such opcode", "ping too long"],
)
async def test_a_bad_frame_closes_with_its_code(serving: Serving, opcode: int, data: bytes, code: int | None) -> None:
    served = await serving()
    async with raw(served) as peer:
        peer.send(opcode, data)
        if code is None:
            assert b"bad_json" in (await peer.frame())[1]
        else:
            assert (await peer.closed())[0] == code


async def test_a_frame_that_is_not_masked_is_1002(serving: Serving) -> None:
    served = await serving()
    async with raw(served) as peer:
        peer.writer.write(b"\x81\x02{}")
        assert (await peer.closed())[0] == 1002


async def test_a_message_that_is_too_long_is_1009(serving: Serving) -> None:
    served = await serving()
    async with raw(served) as peer:
        peer.writer.write(b"\x81\xff" + struct.pack("!Q", 65_537) + b"\0\0\0\0" + b"x" * 65_537)
        assert (await peer.closed())[0] == 1009


async def test_too_many_messages_is_1008(serving: Serving) -> None:
    served = await serving(clock=VirtualClock())
    async with served.connect() as peer:
        for _ in range(51):
            await peer.say(type="ping")
        assert await peer.closed() == (1008, "too many messages")
        assert [one["type"] for one in peer.seen[1:]] == ["pong"] * 50


async def test_too_many_subscriptions_is_1008(serving: Serving) -> None:
    served = await serving()
    async with served.connect() as peer:
        await peer.subscribe(*(f"topic.{n}" for n in range(100)))
        await peer.say(type="subscribe", topics=["one.more"])
        assert await peer.closed() == (1008, "too many subscriptions")


async def test_the_same_topics_again_are_no_more(serving: Serving) -> None:
    served = await serving()
    async with served.connect() as peer:
        for _ in range(3):
            await peer.subscribe(*(f"topic.{n}" for n in range(60)))
            await peer.subscribe(*(f"topic.{n}" for n in range(40)), id="q")
        await peer.sync()
