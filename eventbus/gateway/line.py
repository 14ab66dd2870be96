"""Line: the socket of one client below the application, written to without waiting, with pings of our own.

What the server library does not offer an application is done here, in a protocol class of its server: frames that were made
once for everybody, a look at how much waits, pings by our clock, a close frame that cannot be held up, an end by force.
"""

from __future__ import annotations

import asyncio
import socket
from asyncio.transports import BaseTransport
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.protocol import OPEN

EXTENSION = "eventbus.line"
"""Under this name the application finds the line in its scope."""

SYSTEM_BYTES = 128 * 1024
"""What the system may hold for a client that does not read, which it doubles: left to itself it takes megabytes of old news."""

LAST_WORD_S = 5.0
"""How long a client has to read its close frame."""


class Line(Protocol):
    """The socket of one client."""

    @property
    def is_open(self) -> bool:
        """Can anything still be sent?"""
        ...

    @property
    def is_ready(self) -> bool:
        """Is less waiting to be read by the client than it may be?"""
        ...

    @property
    def buffered(self) -> int:
        """Bytes that wait to be read by the client."""
        ...

    def write(self, frames: Sequence[bytes]) -> None:
        """Send frames as they are. Never waits; nothing happens where the line is not open."""
        ...

    async def until_ready(self) -> None:
        """Wait until it is ready, or open no longer."""
        ...

    def ping(self) -> None:
        """Ask whether anybody is there."""
        ...

    def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard` whenever anything comes from the client, an answer to a ping too."""
        ...

    def end(self, code: int, reason: str) -> None:
        """Send a close frame; who has not read it after a while is cut off."""
        ...


class LineProtocol(WebSocketsSansIOProtocol):
    """For `uvicorn.Config(ws=LineProtocol)`. It is the `Line` of its connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._heard: Callable[[], None] | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SYSTEM_BYTES)

    async def run_asgi(self) -> None:
        extensions: dict[str, object] = {**self.scope["extensions"], EXTENSION: self}
        self.scope["extensions"] = extensions  # type: ignore[typeddict-item] # the server says what is in it, and we add to it
        await super().run_asgi()

    async def send(self, message: Any) -> None:
        """One that is turned away with a response has been answered: the server would call that an error, once for each."""
        await super().send(message)
        if self.close_sent:
            self.handshake_complete = True

    @property
    def is_open(self) -> bool:
        is_over = self.close_sent or self.disconnected or self.transport.is_closing()
        return self.handshake_complete and not is_over and self.conn.state is OPEN  # it may have heard a close frame

    @property
    def is_ready(self) -> bool:
        return self.writable.is_set()

    @property
    def buffered(self) -> int:
        return self.transport.get_write_buffer_size()

    def write(self, frames: Sequence[bytes]) -> None:
        if self.is_open:
            self.transport.write(b"".join(frames))

    async def until_ready(self) -> None:
        await self.writable.wait()

    def ping(self) -> None:
        if self.is_open:
            self.conn.send_ping(b"")
            self.transport.write(b"".join(self.conn.data_to_send()))

    def listen(self, heard: Callable[[], None]) -> None:
        self._heard = heard

    def data_received(self, data: bytes) -> None:
        if self._heard is not None:
            self._heard()
        super().data_received(data)

    def send_receive_event_to_app(self) -> None:
        """A message has come, whole. Text that is none ends the line, without a word in the log."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.end(1007, "text is not UTF-8")
                return
        super().send_receive_event_to_app()

    def handle_pong(self, event: Frame) -> None:
        """That it came is all there is to it."""

    def end(self, code: int, reason: str) -> None:
        if not self.is_open:
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.writable.set()  # who waits to write waits no longer
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = asyncio.get_running_loop().call_later(LAST_WORD_S, self.transport.abort)
