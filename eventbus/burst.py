"""Burst: events accepted in a row, from one context; what the door fills and the dispatcher takes.

An event of its own object for time, cause, context and routes would cost more than its delivery; a burst carries them once.
"""

from __future__ import annotations

import itertools
from collections.abc import Set as AbstractSet
from contextvars import Context
from typing import Any, Final

from eventbus.event import AdHocEvent, Event
from eventbus.receipt import Commit, Flight

_NEVER: Any = object()  # equals no context
_numbers = itertools.count()
NOBODY: frozenset[type[Event]] = frozenset()


class Burst:
    """Events accepted one after another from one context: they share their time, their cause and their routes.

    While it is open, `publish` appends to it directly: `admits` is the class of its last event, `joins` the others it takes,
    `room` how many in all; 0 once it is sealed.
    """

    # What most bursts never need is said here once: making a burst is most of what an event on its own costs.
    is_closed = False
    is_watched = False  # somebody holds a receipt of one of its events
    is_owned = False  # one subscription took all of it, and settles its events one by one
    out = 0  # parties that still work on it as a whole: the dispatcher, and each batch in a thread
    committed: Commit | None = None  # done when it is durable; None in memory
    offset: int | None = None
    durability = "memory"
    admits: type[Event] | None = None
    joins: AbstractSet[type[Event]] = NOBODY
    context: Any = _NEVER
    cause: Event | None = None  # whose handler publishes the events of this burst
    room = 0
    thread = 0

    def __init__(
        self, event: Event, base: Context, hops: int, accepted_ns: int, table: Any, is_plain: bool, is_urgent: bool
    ) -> None:
        self.events = [event]
        self.number = next(_numbers)  # in order of acceptance
        self.base = base  # what handlers get a copy of
        self.hops = hops
        self.accepted_ns = accepted_ns
        self.table = table  # the routes as they were at acceptance
        self.is_plain = is_plain  # lossless, and nothing expires
        self.is_urgent = is_urgent
        self.is_mixed = type(event) is AdHocEvent  # of several types, perhaps
        self.flights: dict[int, Flight] = {}
        self.records: list[Any] = []  # its events as a journal keeps them; empty: it does not

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
            self.events[index], self.base, self.hops, self.accepted_ns, self.table, self.is_plain, self.is_urgent
        )
        part.records = self.records[index : index + 1]
        return part


def _sealed_burst() -> Burst:
    burst: Burst = Burst.__new__(Burst)
    burst.events = []
    burst.is_urgent = False
    return burst


SEALED: Final = _sealed_burst()  # stands where no burst is open: it admits nothing and holds nothing
