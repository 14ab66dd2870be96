"""Event types that tests of the gateway publish, and what its fixture gives."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from decimal import Decimal

from eventbus import Event, Kind, upcast
from eventbus.testing.gateway import Served

PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients that need no certificates: to read those of the world takes longer than most tests."""

Serving = Callable[..., Awaitable[Served]]


class DeskOpened(Event, type="desk.opened", version=2, key="desk"):
    """A desk was opened."""

    desk: int
    name: str = ""
    share: float = 0.5
    is_open: bool = True


class DeskPaid(Event, type="desk.paid", kind=Kind.EXECUTION):
    """Money moved."""

    amount: Decimal
    parts: tuple[Decimal, ...] = ()


class TradeMade(Event, type="trade.made"):
    """Not to be published from outside, unless it is listed."""

    size: int


@upcast("desk.opened", 1)
def with_name(fields: dict[str, object]) -> dict[str, object]:
    """Version 1 had no name."""
    return fields | {"name": "unnamed"}
