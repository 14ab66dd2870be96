"""Entry: who a WebSocket client is, before it is welcomed, and that it still is.

A program shows its token in the Authorization header, a page in a subprotocol or in its first message. Where tokens are off
everybody on this machine comes in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import WebSocket

from eventbus.gateway.line import EXTENSION, Line
from eventbus.gateway.problems import Problem, not_allowed
from eventbus.gateway.wire import SUBPROTOCOL, Auth, Refused, framed, message, parse

if TYPE_CHECKING:
    from eventbus.gateway.auth import Principal
    from eventbus.gateway.gateway import Gateway

BEARER = "eventbus.bearer."
"""A subprotocol that begins so carries a token, or a ticket."""

_CODES = {401: 4401, 429: 4401, 403: 4403}  # any other: 1013, come back later


@asynccontextmanager
async def entered(websocket: WebSocket, gateway: Gateway) -> AsyncIterator[tuple[Line, Principal] | None]:
    """The line of a client and who it is, while it is here; None when it was sent away. Raises `Problem` before the handshake."""
    offered = websocket.scope.get("subprotocols", ())
    shown = _shown(websocket, offered)
    with ExitStack() as places:
        who = _identified(websocket, gateway, shown, places) if shown is not None or not gateway.auth.is_on else None
        await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        line: Line = websocket.scope["extensions"][EXTENSION]
        try:
            who = who or _identified(websocket, gateway, await _first(websocket, gateway, line), places)
        except Problem as problem:
            code = _CODES.get(problem.status, 1013)
            gateway.refused(problem.code)
            gateway.sockets.counts.closed[code] += 1
            line.end(code, problem.code)
            yield None
        else:
            yield line, who


def _shown(websocket: WebSocket, offered: list[str]) -> str | None:
    """The token that came with the handshake."""
    scheme, _, token = websocket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token
    return next((one.removeprefix(BEARER) for one in offered if one.startswith(BEARER)), None)


def _identified(websocket: WebSocket, gateway: Gateway, shown: str | None, places: ExitStack) -> Principal:
    who = gateway.auth.identify(shown, websocket.state.address, websocket.headers.get("origin", ""))
    if not who.reads:
        raise not_allowed("read:PATTERN")
    if gateway.auth.is_on:
        places.enter_context(gateway.places.of_token(who.id))
    return who


async def _first(websocket: WebSocket, gateway: Gateway, line: Line) -> str:
    """The token of the first message. Raises `Problem` where it is something else, or does not come."""
    line.write([framed(message("auth_required", {}))])
    problem = Problem(401, "auth_required", 'the first message must be {"type": "auth", "token": "..."}')
    try:
        async with asyncio.timeout(gateway.settings.limits.auth_s):
            received = await websocket.receive()
        said = parse(received.get("text") or "")
    except (TimeoutError, Refused) as error:
        raise problem from error
    if not isinstance(said, Auth):
        raise problem
    return said.token
