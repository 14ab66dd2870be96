"""Proxy: a network between a client and its server, which is cut, reset, silent or slow when a test says so.

Runs on the loop of the test. What it does to connections it does to all of them; knows no protocol but the length of messages.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Self

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a connection that is closed like this is reset

Filter = Callable[[bytes], bytes]


class FaultProxy:
    """Forwards from `port`, of the loopback, to a server's port. `taken` counts the connections that it took, `lost` the answers, or
    pieces of them, that nobody heard.

    `answers` is given what comes from the server of each connection, and gives what the client is to see of it.
    """

    def __init__(self, target: int, *, answers: Callable[[], Filter] = lambda: bytes) -> None:
        self._target = target
        self._answers = answers
        self._server: asyncio.Server | None = None
        self._pairs: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self._is_deaf = False
        self._delay_s = 0.0
        self.port = 0
        self.taken = 0
        self.lost = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        await asyncio.gather(*self._pairs, return_exceptions=True)

    # --- faults ----------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Close every connection, both ends, as if the cable were pulled and somebody noticed. New ones are taken."""
        self._end(is_reset=False)

    def reset(self) -> None:
        """The same, with a reset."""
        self._end(is_reset=True)

    def refuse(self) -> None:
        """Cut, and take nobody until `heal`."""
        self._refuses = True
        self._end(is_reset=True)

    def black_hole(self) -> None:
        """Nothing comes through and nothing is closed, until `heal`. Who connects is taken, and hears nothing."""
        self._flows.clear()

    def lose_answers(self) -> None:
        """What clients say goes through; what the server answers is lost until `heal`, with the connection."""
        self._is_deaf = True

    def delay(self, seconds: float) -> None:
        """Everything takes this long in each direction, until `heal`."""
        self._delay_s = seconds

    def heal(self) -> None:
        """The network is well again. Connections that lost something are reset."""
        if self._is_deaf:
            self.reset()
        self._is_deaf = self._refuses = False
        self._delay_s = 0.0
        self._flows.set()

    # --- forwarding ------------------------------------------------------------------------------------------------

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            _close(writer, is_reset=True)
            return
        self.taken += 1
        task = asyncio.current_task()
        assert task is not None
        self._pairs[task] = (writer,)
        try:
            below, above = await asyncio.open_connection("127.0.0.1", self._target)
            self._pairs[task] = (writer, above)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, above, bytes, is_answer=False))
                group.create_task(self._forward(below, writer, self._answers(), is_answer=True))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            for each in self._pairs.pop(task):
                _close(each, is_reset=False)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passed: Filter, *, is_answer: bool
    ) -> None:
        while data := await reader.read(_CHUNK):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            await self._flows.wait()
            if is_answer and self._is_deaf:
                self.lost += 1
                continue
            writer.write(passed(data))
            await writer.drain()
        raise ConnectionError("the other end closed it")

    def _end(self, *, is_reset: bool) -> None:
        for task, writers in list(self._pairs.items()):
            for writer in writers:
                _close(writer, is_reset=is_reset)
            task.cancel()


def without_messages(kind: bytes) -> Callable[[], Filter]:
    """An `answers` that leaves out a kind of PostgreSQL's messages: b"A", notifications, as a pooling proxy does."""

    def answers() -> Filter:
        unread = bytearray()

        def passed(data: bytes) -> bytes:
            unread.extend(data)
            through = bytearray()
            if bytes(unread) in {b"N", b"S"}:  # no TLS, or TLS: the one answer that is no message
                through += unread
                unread.clear()
            while len(unread) >= 5:
                length = 1 + int.from_bytes(unread[1:5], "big")
                if len(unread) < length:
                    break
                if unread[:1] != kind:
                    through += unread[:length]
                del unread[:length]
            return bytes(through)

        return passed

    return answers


def _close(writer: asyncio.StreamWriter, *, is_reset: bool) -> None:
    raw = writer.get_extra_info("socket")
    if is_reset and raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort() if is_reset else writer.close()
