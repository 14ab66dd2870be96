"""Access: what routes ask for before they do anything: the gateway, who asks, and the right to read, to steer, to see the metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from eventbus.gateway.auth import Principal
from eventbus.gateway.gateway import Gateway, gateway_of
from eventbus.gateway.problems import Problem, not_allowed

_bearer = HTTPBearer(auto_error=False, description="Where tokens are on: `eventbus token create`.")


async def _here(connection: HTTPConnection) -> Gateway:
    return gateway_of(connection)


Here = Annotated[Gateway, Depends(_here)]
Shown = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def _known(connection: HTTPConnection, gateway: Here, shown: Shown) -> AsyncIterator[Principal]:
    """Whoever asks, while the request lasts. What is asked in a way that the route does not know is refused, as a body would be."""
    _check_query(connection)
    text = None if shown is None else shown.credentials
    who = gateway.auth.identify(text, connection.state.address, connection.headers.get("origin", ""))
    if not gateway.auth.is_on:
        yield who
        return
    gateway.requests.take(who.id)
    with gateway.places.of_token(who.id):
        yield who


def _check_query(connection: HTTPConnection) -> None:
    known = {field.alias for field in connection.scope["route"].dependant.query_params}
    given = [name for name, _ in connection.query_params.multi_items()]
    if not known.issuperset(given):
        raise Problem(422, "invalid", f"unknown parameter; there are {', '.join(sorted(known)) or 'none'}")
    if len(given) > len({*given}):
        raise Problem(422, "invalid", "a parameter is given twice")


Who = Annotated[Principal, Depends(_known)]


async def _reader(who: Who) -> Principal:
    if not who.reads:
        raise not_allowed("read:PATTERN")
    return who


async def _admin(who: Who) -> Principal:
    if not who.is_admin:
        raise not_allowed("admin")
    return who


Reader = Annotated[Principal, Depends(_reader)]
Admin = Annotated[Principal, Depends(_admin)]


async def scraper(connection: HTTPConnection, gateway: Here, shown: Shown) -> None:
    """May whoever asks see the metrics? Where only this machine can ask, everybody may."""
    if gateway.asks_for_metrics:
        text = None if shown is None else shown.credentials
        if not gateway.auth.identify(text, connection.state.address).reads:
            raise not_allowed("read:PATTERN")
