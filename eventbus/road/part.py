"""Part: the events of a burst that one subscription gets, and the deliveries among them that are followed by themselves.

Outcomes are kept by exception: a part remembers how far it got and whatever was not a plain success; a record of its own has only
a delivery that something happened to. Decides nothing: what is run, and what an attempt came to, it is told.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Sequence
from datetime import datetime
from sys import maxsize
from typing import TYPE_CHECKING, Any, Final

from eventbus.outcome import ABSENT, NONE_ALIKE, PENDING, Alike, Outcome, Status
from eventbus.road.context import OUTSIDE, Cell

if TYPE_CHECKING:
    from eventbus.event import Event
    from eventbus.road.burst import Burst
    from eventbus.road.worker import Worker

_INDEX_BITS = 20  # of a delivery's order: its place in the burst
# What is odd about most parts. It is not written to: what each event leaves behind is what the collector has to look at.
_NOTHING: Final[dict[int, Any]] = {}


class Part:
    """The events of a burst that one subscription gets. `done` of them are behind it; `odd` has what was no plain success."""

    __slots__ = (
        "__dict__",
        "__weakref__",
        "burst",
        "cell",
        "done",
        "earlier",
        "events",
        "indices",
        "is_lossless",
        "latest",
        "max_age_ns",
        "name",
        "odd",
        "pending_singles",
        "queued_ns",
        "ran_ns",
        "strange",
        "timed",
        "worker",
    )

    # What few parts need is said here once: there is one for each event on its own, and each who hears it.
    cut = maxsize  # from there on they were given up together
    rest: Outcome | None = None  # and came to that
    alike: Alike = NONE_ALIKE  # `latest`, where nothing in it is odd: a stretch that was told gets nothing new

    def __init__(
        self,
        burst: Burst,
        worker: Worker,
        events: Sequence[Event],
        indices: Sequence[int] | None,
        is_lossless: bool = True,
        max_age_ns: int | None = None,
    ) -> None:
        self.burst = burst
        self.worker = worker
        self.name = worker.name  # it outlives the subscription
        self.events = events
        self.indices = indices  # their places in the burst; None: all of it
        self.is_lossless = is_lossless  # they keep their places at the door
        self.max_age_ns = max_age_ns
        self.done = 0
        self.pending_singles = 0  # deliveries followed by themselves, without an outcome
        self.strange = 0  # of those since the part went on last
        self.odd = _NOTHING  # by place
        self.timed = self.queued_ns = self.ran_ns = 0  # the stretch that ended last: up to where, and its times
        self.earlier: list[tuple[int, int, int]] | None = None  # the same of the stretches before it
        self.latest = NONE_ALIKE  # the stretch that was told last, from where up to where, and the outcome of all in it
        self.cell = Cell(burst.base, burst.hops, worker)

    @property
    def is_done(self) -> bool:
        """Have all its attempts begun, or been taken over by deliveries of their own?"""
        return self.done >= len(self.events)

    def follow(self, place: int, attempt: int = 0, *, is_running: bool = False) -> Delivery:
        """From here on this event is followed by itself. With `is_running` it is one of those that the part goes on with."""
        self.differs(place, PENDING)
        self.pending_singles += 1
        if is_running:
            self.strange += 1
        else:
            self.done = max(self.done, place + 1)
        return Delivery(self, place, attempt)

    def differs(self, place: int, outcome: Any) -> None:
        """What that one came to is kept by itself."""
        if self.odd is _NOTHING:
            self.odd = {}
        self.odd[place] = outcome

    def answered(self, place: int, result: Any) -> None:
        """A handler returned something."""
        self.differs(place, Outcome(self.name, Status.SUCCEEDED, result, None, 1))

    def went_on(self, upto: int, queued_ns: int, each_ns: int) -> int:
        """Up to there its attempts are over, and but for the strange ones they simply succeeded; gives the places free now."""
        first, self.done = self.done, upto
        ended, self.strange = upto - first - self.strange, 0
        if self.timed:
            if self.earlier is None:
                self.earlier = []
            self.earlier.append((self.timed, self.queued_ns, self.ran_ns))
        self.timed, self.queued_ns, self.ran_ns = upto, queued_ns, each_ns
        return self.burst.passed(self, first, upto, ended)

    def concluded(self, place: int, outcome: Outcome) -> None:
        """A delivery that is followed by itself has its outcome."""
        self.odd[place] = outcome  # where it was said to be pending
        self.pending_singles -= 1

    def detach(self) -> Delivery:
        """The delivery that runs keeps its cell; others may go on with the rest."""
        cell, self.cell = self.cell, Cell(self.burst.base, self.burst.hops, self.worker)
        cell.interrupt()
        delivery = self.follow(cell.at, 1)
        delivery.runs_in(cell)
        return delivery

    def give_up_rest(self, status: Status) -> tuple[int, int]:
        """None of those that have not begun ever will; gives where it stood, and how many they are."""
        first, self.cut, self.done = self.done, self.done, len(self.events)
        self.rest = Outcome(self.name, status)
        return first, self.done - first

    def end(self) -> None:
        """All of it has ended: only receipts and the history look at it now. It lets go of its subscription, and of its burst, or
        each burst were a cycle.
        """
        self.burst, self.events, self.cell = self.burst.ended(), (), OUTSIDE
        del self.worker

    def index(self, place: int) -> int:
        """Which event of the burst it is."""
        return place if self.indices is None else self.indices[place]

    def order(self, place: int) -> int:
        """Grows with acceptance, from event to event."""
        return self.burst.number << _INDEX_BITS | self.index(place)

    def pending_places(self) -> list[int]:
        """Those without an outcome."""
        waiting = range(self.done, len(self.events))
        return [place for place, outcome in self.odd.items() if outcome is PENDING and place < self.done] + [*waiting]

    def outcome(self, index: int) -> Any:
        """The outcome of that event of the burst; PENDING, or ABSENT: the event does not come here."""
        place = index
        if self.indices is not None:
            place = bisect_left(self.indices, index)
            if place == len(self.indices) or self.indices[place] != index:
                return ABSENT
        if place in self.odd:
            return self.odd[place]
        first, upto, latest = self.latest
        if first <= place < upto:
            return latest[0]
        if place >= self.cut:
            return self.rest
        if place >= self.done and place >= self.cell.at:
            return PENDING
        if place >= self.done:  # in the stretch in hand, which is not timed yet
            return Outcome(self.name, Status.SUCCEEDED, None, None, 1)
        first, upto, queued_ns, ran_ns = self._stretch_of(place)
        told = Outcome(self.name, Status.SUCCEEDED, None, None, 1, queued_ns / 1e9, ran_ns / 1e9)
        self.latest = first, upto, (told,)
        if self.indices is None and not any(first <= odd < upto for odd in self.odd):
            self.alike = self.latest
        return told

    def _stretch_of(self, place: int) -> tuple[int, int, int, int]:
        """From where up to where the stretch of that place went, and the nanoseconds it was queued, and each of it ran."""
        earlier = self.earlier or []
        at = bisect_right(earlier, place, key=_timed)
        first = earlier[at - 1][0] if at else 0
        return first, *(earlier[at] if at < len(earlier) else (self.timed, self.queued_ns, self.ran_ns))


def _timed(stretch: tuple[int, int, int]) -> int:
    return stretch[0]


class Delivery:
    """One handing-over of an event that is followed by itself. A handler that takes two arguments gets it as its second.

    Handlers may read `event`, `subscription` (its name), `attempt` (from 1), `deadline` (loop time at which this attempt is
    cancelled, or None) and `token` (what a store outside can fence by), and answer a request with `reply(value)`.
    """

    __slots__ = (
        "answer",
        "attempt",
        "cell",
        "deadline",
        "event",
        "first_failed",
        "is_heir",
        "key",
        "order",
        "part",
        "place",
        "queued_ns",
    )

    def __init__(self, part: Part, place: int, attempt: int) -> None:
        self.part = part
        self.place = place
        self.event = part.events[place]
        self.attempt = attempt
        self.order = part.order(place)  # when it came, or what it replaces
        self.is_heir = False
        self.key: Hashable = None  # held busy, or waited for
        self.cell: Cell | None = None  # of the attempt that runs
        self.deadline: float | None = None
        self.answer: Any = None
        self.first_failed: datetime | None = None
        self.queued_ns = 0

    @property
    def subscription(self) -> str:
        return self.part.name

    @property
    def token(self) -> int | None:
        """Of a durable group: it grows each time another process takes its events over. None for other subscriptions."""
        return self.part.burst.token

    @property
    def is_urgent(self) -> bool:
        return self.part.burst.is_urgent

    @property
    def turn(self) -> tuple[bool, int]:
        """Urgent ones first, then by acceptance."""
        return not self.part.burst.is_urgent, self.order

    def reply(self, value: Any) -> None:
        """Answer a request: what `await bus.request(...)` returns."""
        self.answer = value

    def inherit(self, older: Delivery) -> None:
        """It replaces a value that waited, in its place and turn."""
        self.order, self.is_heir = older.order, True

    def begin(self, cell: Cell, now_ns: int, deadline: float | None) -> None:
        """An attempt starts."""
        self.attempt += 1
        self.cell, self.deadline = cell, deadline
        self.queued_ns = max(0, now_ns - self.part.burst.accepted_ns)

    def runs_in(self, cell: Cell) -> None:
        """Its attempt began as one of its part, in there."""
        self.cell = cell

    def wants(self, key: Hashable) -> None:
        """It waits for this key, or holds it."""
        self.key = key

    def failed_at(self, moment: datetime) -> None:
        """An attempt of it failed."""
        if self.first_failed is None:
            self.first_failed = moment

    def __repr__(self) -> str:
        return f"Delivery({self.event}, subscription={self.subscription!r}, attempt={self.attempt})"
