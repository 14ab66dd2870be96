"""Protocol: the socket of one HTTP connection, below the application: what the server library does not bound is bounded here.

A head has a size, a request has a time, a connection has a place; who exceeds one is told so where that is still possible, and cut.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import uuid
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from eventbus.gateway.line import LineProtocol
from eventbus.gateway.problems import Problem, later

if TYPE_CHECKING:
    from eventbus.gateway.gateway import Gateway

log = logging.getLogger("eventbus.gateway")

_DISCARDED = 4  # times the largest body: what is read and thrown away after an answer that was given early


class GuardedProtocol(H11Protocol):
    """For `uvicorn.Config(http=...)`; `gateway` is given by a subclass."""

    gateway: Gateway

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._limits = self.gateway.settings.limits
        self.timeout_keep_alive = self._limits.idle_s  # type: ignore[assignment] # seconds all the same
        self._timer: asyncio.TimerHandle | None = None
        self._is_receiving = False
        self._received = 0  # bytes of the request that comes
        self._place: str | None = None  # taken by this address
        self._unread: int | None = None  # bytes of an answer that were not read when it was last looked

    # --- a place -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        if self.gateway.places.enter(address):
            self._place = address
            self._wait(self._limits.idle_s, self._end_idle)
        else:
            self._refuse(later(503, "too_many_connections", "there are too many connections: try again later", 1))

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        super().connection_lost(exc)

    def _leave(self) -> None:
        self._stop_waiting()
        if self._place is not None:
            self.gateway.places.leave(self._place)
            self._place = None

    # --- a time ------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """More of a request, or of the next one."""
        if self._place is None:
            return  # it was refused
        if not self._is_receiving:
            self._is_receiving, self._received = True, 0
            self._wait(self._limits.receive_s, self._end_slow)
        self._received += len(data)
        if self._received > self._limits.body_bytes * _DISCARDED:
            self.transport.abort()
            return
        super().data_received(data)
        self._look()

    def _look(self) -> None:
        """Is the request here, whole?"""
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            return
        if self._is_receiving:
            self._is_receiving = False
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """The answer is out; what was sent meanwhile is the next request."""
        super().on_response_complete()
        if not self._is_receiving and self.conn.trailing_data[0]:
            self._is_receiving, self._received = True, len(self.conn.trailing_data[0])
            self._wait(self._limits.receive_s, self._end_slow)

    def timeout_keep_alive_handler(self) -> None:
        """Nothing more was asked. Who has not read the answer, and reads no more of it, is cut."""
        unread = self.transport.get_write_buffer_size()
        if not unread:
            super().timeout_keep_alive_handler()
        elif self._unread is None or unread < self._unread:
            self._unread = unread
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            self.transport.abort()

    def _wait(self, seconds: float, then: Any) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(seconds, then)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_idle(self) -> None:
        """Nothing ever came."""
        self.transport.close()

    def _end_slow(self) -> None:
        self._refuse(Problem(408, "too_slow", f"a request has {self._limits.receive_s:g} seconds to come in"))

    # --- a size ------------------------------------------------------------------------------------------------------

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """From here on another protocol has the socket, and its place."""
        self._stop_waiting()
        if len(self.headers) > self._limits.headers or _head_size(event) > self._limits.head_bytes:
            self._refuse(_too_large(self._limits.headers, self._limits.head_bytes))
            return
        self.ws_protocol_class = partial(PlacedLine, self._leave)  # type: ignore[assignment] # called with what is left of it
        super().handle_websocket_upgrade(event)
        early, _ = self.conn.trailing_data
        if early:  # who did not wait for the answer to its handshake
            line = self.transport.get_protocol()
            assert isinstance(line, PlacedLine)
            line.data_received(early)

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP, or its head is too large."""
        error = sys.exc_info()[1]
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        if status == 431:
            self._refuse(_too_large(self._limits.headers, self._limits.head_bytes))
        else:
            self._refuse(Problem(400, "bad_request", "this is no HTTP/1.1 request"))

    def _refuse(self, problem: Problem) -> None:
        """Say no and close; without a word where an answer has begun."""
        self._stop_waiting()
        self.gateway.refused(problem.code)
        cycle: RequestResponseCycle | None = self.cycle
        is_open = cycle is not None and not cycle.response_complete
        if not (is_open and self.cycle.response_started):
            request_id = uuid.uuid4().hex
            log.info(
                "request refused", extra={"request_id": request_id, "code": problem.code, "status": problem.status}
            )
            response = problem.response(request_id)
            headers = [(b"connection", b"close"), (b"x-request-id", request_id.encode()), *response.raw_headers]
            lines = [b"HTTP/1.1 %d %b" % (problem.status, HTTPStatus(problem.status).phrase.encode())]
            lines += [name + b": " + value for name, value in headers]
            self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body))
        if is_open:
            self.cycle.disconnected = True  # what still works on it finds nobody there
            self.cycle.message_event.set()
        self.transport.close()


class PlacedLine(LineProtocol):
    """A WebSocket on a socket that has a place: `leave` gives it back."""

    def __init__(self, leave: Callable[[], None], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._leave = leave

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        super().connection_lost(exc)


def guarded(of: Gateway) -> type[GuardedProtocol]:
    """The protocol class for one gateway."""
    return type("GuardedProtocol", (GuardedProtocol,), {"gateway": of})


def _head_size(event: h11.Request) -> int:
    return len(event.target) + sum(len(name) + len(value) + 4 for name, value in event.headers)


def _too_large(headers: int, head_bytes: int) -> Problem:
    return Problem(431, "head_too_large", f"a head has at most {headers} headers and {head_bytes} bytes")
