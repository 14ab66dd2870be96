"""Event cache: the events that passed through this process lately, by their place in a log.

Groups that keep up are served from it: they decode nothing, and their handlers have the context of the publisher. Knows no journal.
"""

from __future__ import annotations

from bisect import bisect_right
from contextvars import Context
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from eventbus.event import Event
    from eventbus.journal.values import NewQuarantined
    from eventbus.road.burst import Burst


class Found(NamedTuple):
    """What is at a place in a log: an event, with what its publisher left; None where nobody can read what is there.

    `burst` is the number of the burst that it was accepted in; negative for what an earlier process left.
    """

    offset: int
    event: Event | None
    base: Context
    hops: int
    accepted_ns: int
    burst: int
    unreadable: NewQuarantined | None = None  # what is to be kept of it, where nobody has done that yet
    event_id: str = ""  # of what is there, where there is no event


class EventCache:
    """Events by offset: `size` of them at least, twice as many before the oldest are forgotten."""

    def __init__(self, size: int = 10_000) -> None:
        self._size = size
        self._count = 0
        self._firsts: list[int] = []  # the offset of the first event of each burst, ascending
        self._bursts: list[tuple[list[Event], Context, int, int, int]] = []

    def remember(self, first: int, burst: Burst) -> None:
        """The events of a burst have these places, from `first` on."""
        if self._firsts and first <= self._firsts[-1]:
            return  # it was there before after all
        self._firsts.append(first)
        self._bursts.append((burst.events, burst.base, burst.hops, burst.accepted_ns, burst.number))
        self._count += len(burst.events)
        if self._count > 2 * self._size:
            forgotten = passed = 0
            while self._count - passed > self._size:
                passed += len(self._bursts[forgotten][0])
                forgotten += 1
            self._forget(forgotten)

    def forget(self, upto: int) -> None:
        """Nobody asks for what lies up to there."""
        self._forget(max(0, bisect_right(self._firsts, upto + 1) - 1))

    def _forget(self, bursts: int) -> None:
        self._count -= sum(len(passed[0]) for passed in self._bursts[:bursts])
        del self._firsts[:bursts], self._bursts[:bursts]

    @property
    def oldest(self) -> int | None:
        """The first place that is remembered."""
        return self._firsts[0] if self._firsts else None

    def following(self, offset: int, limit: int) -> list[Found]:
        """Up to so many events that follow an offset without a gap, if they passed lately."""
        found: list[Found] = []
        at = bisect_right(self._firsts, offset + 1) - 1
        while 0 <= at < len(self._firsts) and len(found) < limit:
            first, (events, base, hops, accepted_ns, number) = self._firsts[at], self._bursts[at]
            index = offset + 1 + len(found) - first
            if not 0 <= index < len(events):
                break
            places = range(index, min(len(events), index + limit - len(found)))
            found += [Found(first + place, events[place], base, hops, accepted_ns, number) for place in places]
            at += 1
        return found
