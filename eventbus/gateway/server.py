"""Server: uvicorn with the end that a bus needs: it drains while clients still listen, then they are closed, then the process ends.

A second signal ends at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI

from eventbus import GatewayError
from eventbus.gateway.line import LineProtocol
from eventbus.gateway.protocol import guarded

if TYPE_CHECKING:
    from eventbus.gateway.gateway import Gateway
    from eventbus.gateway.settings import GatewaySettings

log = logging.getLogger("eventbus.gateway")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CLOSING_S = 1  # that connections have after the drain
_LOOK_S = 0.005  # between two looks at whether they are closed
_TICKS_S = 10  # ticks of uvicorn in a second; at every tenth it dates its answers anew


async def serve(
    app: FastAPI, *, started: Callable[[str], object] | None = None, until: asyncio.Event | None = None
) -> None:
    """Serve an application that `create_gateway` made until a signal ends it. `started` is called with its URL once it listens.

    `until` ends it too, where a program serves besides what it does. Raises `GatewayError` where it cannot listen.
    """
    gateway: Gateway = app.state.gateway
    with _bound(gateway.settings) as listening:
        host, port = listening.getsockname()[:2]
        url = f"{gateway.settings.scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        server = _Server(_config(app, gateway), gateway, lambda: started and started(url))
        asked = None if until is None else asyncio.ensure_future(server.end_with(until))
        try:
            await gateway.start()
            await server.serve([listening])
        finally:
            if asked is not None:
                asked.cancel()
            await gateway.stop()


def _config(app: FastAPI, gateway: Gateway) -> uvicorn.Config:
    settings = gateway.settings
    config = uvicorn.Config(
        app,
        ws=LineProtocol,
        ws_max_size=settings.limits.message_bytes,
        ws_ping_interval=None,
        http=guarded(gateway),
        h11_max_incomplete_event_size=settings.limits.head_bytes,
        lifespan="on",
        log_config=None,
        log_level="warning",  # what it says of sockets besides holds whole addresses
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws_per_message_deflate=False,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    try:
        config.load()
    except OSError as error:  # of SSL, too
        raise GatewayError(
            f"--tls-cert {settings.tls_cert}, --tls-key: {_reason(error)}; give two PEM files"
        ) from error
    return config


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, gateway: Gateway, started: Callable[[], object]) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._tell_started = started
        self._ending = asyncio.Event()

    async def end_with(self, until: asyncio.Event) -> None:
        """End when that happens."""
        await until.wait()
        self._end()

    def _end(self) -> None:
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """As uvicorn's, which looks ten times a second whether to end: this one is told, and wakes once a second."""
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += _TICKS_S
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._ending.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await self._gateway.stop()
        for connection in [*self.server_state.connections]:
            connection.shutdown()
        try:
            async with asyncio.timeout(_CLOSING_S):
                await self._all_closed()
        except TimeoutError:
            requests, connections = [*self.server_state.tasks], [*self.server_state.connections]
            log.warning(
                "%d requests and %d connections had not ended when the gateway did: cut",
                len(requests),
                len(connections),
            )
            for task in requests:
                task.cancel()
            for connection in connections:
                connection.transport.abort()  # it may have something to say to who never reads
        await self.lifespan.shutdown()

    async def _all_closed(self) -> None:
        while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - sets of uvicorn, which tells nobody
            await asyncio.sleep(_LOOK_S)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        try:
            for each in _SIGNALS:
                loop.add_signal_handler(each, self._asked_to_end, each)
        except (NotImplementedError, RuntimeError, ValueError):  # not the main thread, or Windows
            yield
            return
        try:
            yield
        finally:
            for each in _SIGNALS:
                loop.remove_signal_handler(each)

    def _asked_to_end(self, number: int) -> None:
        if self.should_exit:
            os._exit(128 + number)
        self._end()


def _bound(settings: GatewaySettings) -> socket.socket:
    try:
        family, _kind, _protocol, _name, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(address[:2], family=family)
    except OSError as error:
        raise GatewayError(
            f"cannot listen on {settings.host} port {settings.port}: {_reason(error)}; "
            "choose another --port, 0 for any free one"
        ) from error
    # What it accepts inherits it. asyncio sees to it only where the socket was made for TCP by name: a small message would wait
    # for the answer to the one before, which its reader holds back for 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _reason(error: OSError) -> str:
    if error.errno is None or isinstance(error, ssl.SSLError | socket.gaierror):
        return (error.strerror or str(error)).lower()
    return os.strerror(error.errno).lower()
