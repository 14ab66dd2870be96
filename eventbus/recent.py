"""Recent: the events that passed through this process lately, by their place in the journal.

The bus fills it as bursts become durable; durable subscriptions that keep up are served from it. Knows no journal.
"""

from __future__ import annotations

from bisect import bisect_right
from contextvars import Context
from typing import NamedTuple

from eventbus.burst import Burst
from eventbus.event import Event
from eventbus.journal.values import Record


class Found(NamedTuple):
    """What is at an offset: an event that went through this process, with what its publisher left; or else its record."""

    offset: int
    event: Event | None
    base: Context
    hops: int
    accepted_ns: int
    record: Record | None


class Recent:
    """Events that passed lately, by offset, so that a subscription that keeps up decodes nothing and knows their context."""

    def __init__(self, size: int = 10_000) -> None:
        self._size = size  # events at least; twice as many before the oldest are forgotten
        self._held = 0
        self._firsts: list[int] = []  # the offset of the first event of each burst, ascending
        self._bursts: list[tuple[list[Event], Context, int, int]] = []
        self.newest = 0  # the newest offset that was dispatched, or was there when the journal was opened

    def remember(self, burst: Burst) -> None:
        """The events of a burst that is durable and not yet dispatched."""
        if burst.offset is None or (self._firsts and burst.offset <= self._firsts[-1]):
            return  # not journalled, or it was there before after all
        self._firsts.append(burst.offset)
        self._bursts.append((burst.events, burst.base, burst.hops, burst.accepted_ns))
        self._held += len(burst.events)
        if self._held > 2 * self._size:
            forgotten = 0
            while self._held > self._size:
                self._held -= len(self._bursts[forgotten][0])
                forgotten += 1
            del self._firsts[:forgotten], self._bursts[:forgotten]

    def dispatched(self, burst: Burst) -> None:
        """The dispatcher offers the events of a burst."""
        if burst.offset is not None:
            self.newest = max(self.newest, burst.offset + len(burst.events) - 1)

    def following(self, offset: int, limit: int) -> list[Found]:
        """Up to so many events that follow an offset without a gap, if they passed lately."""
        found: list[Found] = []
        at = bisect_right(self._firsts, offset + 1) - 1
        while 0 <= at < len(self._firsts) and len(found) < limit:
            first, (events, base, hops, accepted_ns) = self._firsts[at], self._bursts[at]
            index = offset + 1 + len(found) - first
            if not 0 <= index < len(events):
                break
            places = range(index, min(len(events), index + limit - len(found)))
            found += [Found(first + place, events[place], base, hops, accepted_ns, None) for place in places]
            at += 1
        return found
