"""Passage: events that a group read in a row, on their way through its worker: they tell the group what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from eventbus.kind import Kind
from eventbus.outcome import PENDING
from eventbus.road.burst import Burst

if TYPE_CHECKING:
    from eventbus.dead_letter import DeadLetter
    from eventbus.durability.event_cache import Found
    from eventbus.durability.share import Share
    from eventbus.event import Event
    from eventbus.outcome import Outcome
    from eventbus.road.part import Delivery, Part


class Told(Protocol):
    """A group, which learns what became of each."""

    def succeeded(self, burst: Passage, part: Part, places: Sequence[int], ended: int) -> None:
        """These simply succeeded, of so many that ended."""
        ...

    def settled(self, share: Share, offset: int, outcome: Outcome, letter: DeadLetter | None) -> None:
        """One that was followed by itself has its outcome."""
        ...

    def look_up(self) -> None:
        """Something that it does not ask about changed."""
        ...

    async def count_again(self, share: Share, offset: int) -> None:
        """Another attempt begins."""
        ...


class Passage(Burst):
    """A run of events with one publisher, one kind and one age."""

    keeps_letters = True

    def __init__(self, group: Told, share: Share, run: Sequence[tuple[Found, Event]]) -> None:
        found, event = run[0]
        is_urgent = event.__event__.kind is Kind.CONTROL
        super().__init__(event, found.base, found.hops, found.offset, found.accepted_ns, is_urgent=is_urgent)
        self.events += [event for _, event in run[1:]]
        self.offsets = [found.offset for found, _ in run]
        self.share = share
        self._group = group
        self._told: set[int] = set()  # places ahead of the part that have an outcome of their own

    def passed(self, part: Part, first: int, upto: int, ended: int) -> int:
        """What simply succeeded between is settled; what was given up with the subscription stays pending."""
        if ended:
            plain: Sequence[int] = range(first, min(upto, part.cut))
            if self._told or part.odd:
                plain = [place for place in plain if place not in self._told and part.odd.get(place) is not PENDING]
            self._group.succeeded(self, part, plain, ended)
        self._told = {place for place in self._told if place >= upto}
        return 0

    def finished(self, delivery: Delivery, outcome: Outcome, letter: DeadLetter | None) -> int:
        """A delivery that was followed by itself has its outcome."""
        self._told.add(delivery.place)
        self._group.settled(self.share, self.offsets[delivery.place], outcome, letter)
        return 0

    async def begins_again(self, delivery: Delivery) -> None:
        """A retry is an attempt too: counted before it starts, however long that takes."""
        await self._group.count_again(self.share, self.offsets[delivery.place])

    @property
    def is_withdrawn(self) -> bool:  # type: ignore[override] # of most bursts it is never asked
        return self.share.is_lost

    @property
    def token(self) -> int:  # type: ignore[override]
        return self.share.lease.token


def run_of(each: tuple[Found, Event], is_aged: bool) -> tuple[object, ...]:
    """What events of one run share. Those that an earlier process left, or another published, have no publisher here: where nobody
    asks for the age of each, they go together."""
    found, event = each
    spec = event.__event__
    is_apart = found.burst >= 0 or is_aged or spec.max_age is not None
    return found.burst if is_apart else -1, found.hops, spec.kind, spec.max_age
