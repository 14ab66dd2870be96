"""One connection to NATS: whoever waits on it learns that it is lost."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from eventbus.journal.nats import server as nats_server
from eventbus.journal.nats.messages import Put
from eventbus.journal.nats.server import Gone, Wire

_INFO = b'INFO {"server_id": "x", "version": "2.12.0", "headers": true, "max_payload": 1048576}\r\n'


@asynccontextmanager
async def connected(published: Callable[[asyncio.StreamWriter], object]) -> AsyncIterator[Wire]:
    """A wire to a server that knows no more than to be there: what it does when something is published is said."""
    is_over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_INFO)
        with suppress(ConnectionError):
            while line := await reader.readline():
                if line.startswith(b"PING"):
                    writer.write(b"PONG\r\n")
                elif line.startswith(b"PUB"):
                    published(writer)
        writer.close()
        is_over.set()

    server, wire = await asyncio.start_server(serve, "127.0.0.1", 0), Wire()
    async with server:
        await wire.open(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}", {})
        try:
            yield wire
        finally:
            await wire.end()
            await is_over.wait()


async def test_who_asks_is_told_of_a_loss_when_something_is_left_to_send() -> None:
    asked: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    async with connected(asked.set_result) as wire:
        asking = asyncio.ensure_future(wire.ask([Put("question")]))
        writer = await asked
        wire.client._pending.append(b"PING\r\n")  # as while the client's task that sends waits for its turn
        wire.client._pending_data_size += 6
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        async with asyncio.timeout(60):
            with pytest.raises(Gone):
                await asking


@pytest.mark.parametrize("answer", [b"INFO {no json\r\n", b"MSG \xff\xfe 1 2\r\nhi\r\n"])
async def test_who_asks_is_told_when_nobody_reads_any_more(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_server, "_PING_S", 0.05)
    # That ends the task of the client that reads, and nothing else.
    async with connected(lambda writer: writer.write(answer)) as wire, asyncio.timeout(60):
        with pytest.raises(Gone):
            await wire.ask([Put("question")])
