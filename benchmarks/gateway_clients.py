"""Gateway clients: many WebSocket clients in a process of their own, as cheap as can be, so that the server is what is measured.

They parse frames by hand. Every message carries the moment it was published; the clock is the same in every process of a machine.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import statistics
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

_STAMP = re.compile(rb'"t":(\d+),"n":(\d+)')
_SMALL = 4_096  # bytes that the system takes for a client that never reads


class _Client(asyncio.Protocol):
    def __init__(self, request: bytes, subscribe: bytes, is_dead: bool) -> None:
        self._first = request
        self._subscribe = subscribe
        self._is_dead = is_dead
        self._buffer = b""
        self._is_open = False
        self.numbers: list[int] = []
        self.delays: list[int] = []
        self.views = 0
        self.is_ready = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._first)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        data = self._buffer + data
        if not self._is_open:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return
            self._is_open = True
            if self._subscribe:
                self._transport.write(_masked(self._subscribe))
            else:
                self.is_ready = True
        at = 0
        while (taken := _frame(data, at)) is not None:
            begin, at = taken
            found = _STAMP.search(data, begin, at)
            if found is not None:
                self.delays.append(now - int(found[1]))
                self.numbers.append(int(found[2]))
            elif data.startswith(b'{"type":"subscribed"', begin):
                self.is_ready = True
                if self._is_dead:
                    self._transport.pause_reading()
            elif data.startswith(b'{"type":"view"', begin):
                self.views += 1
        self._buffer = data[at:]
        if self._is_dead and self.is_ready:
            self._transport.pause_reading()


def _frame(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the payload of the next frame begins and ends; None while it is not whole."""
    if len(data) < at + 2:
        return None
    size, begin = data[at + 1], at + 2
    if size == 126:
        size, begin = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
    elif size == 127:
        size, begin = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
    return None if len(data) < begin + size else (begin, begin + size)


def _masked(text: bytes) -> bytes:
    return b"\x81" + bytes([0x80 | len(text)]) + b"\0\0\0\0" + text


@dataclass(slots=True)
class Received:
    """What the clients that read got in one run. `in_order` are those that got everything, once, in order."""

    in_order: int = 0
    messages: int = 0
    last_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    views: int = 0


def clients(port: int, path: str, living: int, dead: int, subscribe: bytes, pipe: Connection) -> None:
    """The process: connects, then for each number of messages that it is sent waits for them and answers with `Received`."""
    asyncio.run(_run(port, path, living, dead, subscribe, pipe))


async def _run(port: int, path: str, living: int, dead: int, subscribe: bytes, pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    readers = [await _connected(port, path, subscribe, is_dead=False) for _ in range(living)]
    silent = [await _connected(port, path, subscribe, is_dead=True) for _ in range(dead)]
    while not all(one.is_ready for one in (*readers, *silent)):  # noqa: ASYNC110 - of many
        await asyncio.sleep(0.01)
    pipe.send("ready")
    while (asked := await loop.run_in_executor(None, pipe.recv)) is not None:
        count, patience_s = asked
        for one in readers:
            one.numbers.clear()
            one.delays.clear()
        pipe.send("go")
        until = time.monotonic() + patience_s
        while any(len(one.numbers) < count for one in readers) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        delays = [delay for one in readers for delay in one.delays]
        cuts = statistics.quantiles(delays, n=100) if len(delays) > 1 else [0.0] * 99
        pipe.send(
            Received(
                in_order=sum(one.numbers == [*range(count)] for one in readers),
                messages=len(delays),
                last_s=time.monotonic(),
                p50_ms=cuts[49] / 1e6,
                p99_ms=cuts[98] / 1e6,
                views=sum(one.views for one in readers),
            )
        )


async def _connected(port: int, path: str, subscribe: bytes, *, is_dead: bool) -> _Client:
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()
    connection = socket.socket()
    if is_dead:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, ("127.0.0.1", port))
    _transport, client = await loop.create_connection(lambda: _Client(request, subscribe, is_dead), sock=connection)
    return client
