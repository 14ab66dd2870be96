"""Burst: events accepted in a row, from one context; what the door fills and the dispatcher takes.

An event of its own object for time, cause, context and routes would cost more than its delivery; a burst carries them once.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Set as AbstractSet
from contextvars import Context
from typing import Any

from eventbus.event import AdHocEvent, Event
from eventbus.receipt import Flight

_NEVER: Any = object()  # equals no context
_numbers = itertools.count()
NOBODY: frozenset[type[Event]] = frozenset()


class Burst:
    """Events accepted one after another from one context: they share their time, their cause and their routes.

    While it is open, `publish` appends to it directly: `admits` is the class of its last event, `joins` the others it takes,
    `room` how many in all; 0 once it is sealed.
    """

    __slots__ = (
        "accepted_ns",
        "admits",
        "base",
        "committed",
        "context",
        "durability",
        "events",
        "flights",
        "hops",
        "is_closed",
        "is_mixed",
        "is_owned",
        "is_plain",
        "is_urgent",
        "is_watched",
        "joins",
        "number",
        "offset",
        "out",
        "records",
        "room",
        "table",
        "thread",
    )

    def __init__(
        self, event: Event, *, base: Context, hops: int, accepted_ns: int, table: Any, is_plain: bool, is_urgent: bool
    ) -> None:
        self.events = [event]
        self.number = next(_numbers)  # in order of acceptance
        self.base = base  # what handlers get a copy of
        self.hops = hops
        self.accepted_ns = accepted_ns
        self.table = table  # the routes as they were at acceptance
        self.is_urgent = is_urgent
        self.is_plain = is_plain  # lossless, and nothing expires
        self.is_mixed = type(event) is AdHocEvent  # of several types, perhaps
        self.joins: AbstractSet[type[Event]] = NOBODY
        self.flights: dict[int, Flight] = {}
        self.is_closed = False
        self.is_watched = False  # somebody holds a receipt of one of its events
        self.is_owned = False  # one subscription took all of it, and settles its events one by one
        self.out = 0  # parties that still work on it as a whole: the dispatcher, and each batch in a thread
        self.records: list[Any] = []  # its events as a journal keeps them; empty: it does not
        self.committed: asyncio.Future[None] | None = None  # done when it is durable; None in memory
        self.offset: int | None = None
        self.durability = "memory"
        self.admits: type[Event] | None = None
        self.context: Any = _NEVER
        self.room = 0
        self.thread = 0

    def flight(self, index: int) -> Flight:
        """The flight of one of its events, made on demand."""
        flight = self.flights.get(index)
        if flight is None:
            flight = self.flights[index] = Flight(self.events[index])
            if self.is_closed:
                flight.landed()
        return flight

    def part(self, index: int) -> Burst:
        """One of its events in a burst of its own."""
        part = Burst(
            self.events[index],
            base=self.base,
            hops=self.hops,
            accepted_ns=self.accepted_ns,
            table=self.table,
            is_plain=self.is_plain,
            is_urgent=self.is_urgent,
        )
        part.records = self.records[index : index + 1]
        return part


def sealed_burst() -> Burst:
    """Stands where no burst is open: it admits nothing and holds nothing."""
    burst: Burst = Burst.__new__(Burst)
    burst.events = []
    burst.admits, burst.joins = None, NOBODY
    burst.room = 0
    burst.is_urgent = False
    return burst
