"""Watched: what receipts look at where a group handles the events of a burst: it reads them elsewhere, and tells what came of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from eventbus.outcome import ABSENT, Outcome, Status
from eventbus.road.part import Part

if TYPE_CHECKING:
    from eventbus.event import Event
    from eventbus.road.burst import Burst
    from eventbus.road.worker import Worker

_EARLY = 20_000  # outcomes kept at least of events that are not dispatched yet, twice as many for a moment
_SPARE = 64


class WatchedPart(Part):
    """Events of a burst as they were dispatched: nothing of it runs, it only gets outcomes."""

    __slots__ = ("_left",)

    def __init__(self, burst: Burst, worker: Worker, events: Sequence[Event], indices: Sequence[int] | None) -> None:
        super().__init__(burst, worker, events, indices, is_lossless=False)
        self._left = len(events)

    def tell(self, index: int, outcome: Any) -> None:
        """That event of the burst has its outcome; ABSENT: it does not come here after all."""
        place = index if self.indices is None else bisect_left(self.indices, index)
        if place >= len(self.events) or self.index(place) != index or place in self.odd:
            return
        self.differs(place, outcome)
        self._left -= 1
        self.burst.passed(self, place, place + 1, 1)
        if not self._left:
            self.end()

    def tell_rest(self, outcome: Any) -> None:
        """The same for all that have none."""
        for index in [self.index(place) for place in range(len(self.events))]:
            self.tell(index, outcome)


class Watch:
    """The parts of one group, for as long as anybody holds a receipt of theirs."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._parts: WeakValueDictionary[int, WatchedPart] = WeakValueDictionary()  # by the place of their bursts
        self._firsts: list[int] = []  # these places, in order; of some nobody holds a receipt any more
        self._newest = 0  # place that was dispatched
        self._early: dict[int, Outcome] = {}  # of events that the dispatcher has yet to offer
        self._is_ended = False

    def arrived(
        self,
        first: int,
        burst: Burst,
        events: Sequence[Event],
        indices: Sequence[int] | None,
        is_elsewhere: Callable[[int, Event], bool],
    ) -> Part:
        """The dispatcher offers events of the burst that begins at that place; some may be settled, or elsewhere."""
        part = WatchedPart(burst, self._worker, events, indices)
        self._newest = max(self._newest, first + len(burst.events) - 1)
        if len(self._firsts) > 2 * len(self._parts) + _SPARE:
            self._firsts = sorted(self._parts)
        if first not in self._parts:
            insort(self._firsts, first)
        self._parts[first] = part
        for index, event in zip(range(len(burst.events)) if indices is None else indices, events, strict=True):
            outcome = self._early.pop(first + index, None)
            if outcome is not None:
                part.tell(index, outcome)
            elif is_elsewhere(first + index, event):
                part.tell(index, ABSENT)
        if self._is_ended:
            part.tell_rest(Outcome(self._worker.name, Status.CANCELLED))
        return part

    def tell(self, offset: int, outcome: Outcome) -> None:
        """The event at that place has its outcome."""
        at = bisect_right(self._firsts, offset) - 1
        part = self._parts.get(self._firsts[at]) if at >= 0 else None
        if part is not None:
            part.tell(offset - self._firsts[at], outcome)
        if offset > self._newest:
            self._early[offset] = outcome
            if len(self._early) > 2 * _EARLY:
                self._early = dict(islice(self._early.items(), _EARLY, None))

    def gone(self, is_gone: Callable[[int, Event], bool]) -> None:
        """Of what this group has not settled here, that is not for it, or not any more."""
        for first, part in [*self._parts.items()]:
            places = [(part.index(place), event) for place, event in enumerate(part.events)]
            for index in [index for index, event in places if is_gone(first + index, event)]:
                part.tell(index, ABSENT)

    def end(self) -> None:
        """The subscription or the bus is gone: nobody waits for it any more."""
        self._is_ended = True
        for part in [*self._parts.values()]:
            part.tell_rest(Outcome(self._worker.name, Status.CANCELLED))
