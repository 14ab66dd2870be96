"""A receipt has the outcomes of a group whenever it is asked, in whatever order group and dispatcher come to the event."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus, Outcome, Status
from eventbus.durability.watched import Watch
from eventbus.road.burst import Burst
from eventbus.road.worker import Worker


@pytest.fixture
def worker() -> Worker:
    return InMemoryEventBus().subscribe("t.*", lambda _event: None, name="books").worker


def burst(count: int) -> Burst:
    events = [Event("t.watched", payload={"n": n}) for n in range(count)]
    made = Burst(events[0], Context(), 0, 1, 0)
    made.events += events[1:]
    return made


def outcome(status: Status = Status.SUCCEEDED) -> Outcome:
    return Outcome("books", status, attempts=1)


def nothing(_offset: int, _event: Event) -> bool:
    return False


def test_what_the_group_tells_later_is_in_the_outcomes(worker: Worker) -> None:
    watch, watched = Watch(worker), burst(3)
    part = watch.arrived(11, watched, watched.events, None, nothing)
    watched.routed((part,), 1)
    assert watched.outcomes(1) is None
    watch.tell(12, outcome())
    assert watched.outcomes(1) == (outcome(),)
    assert watched.outcomes(0) is None


def test_what_the_group_told_before_it_is_dispatched_is_not_lost(worker: Worker) -> None:
    watch, watched = Watch(worker), burst(2)
    watch.tell(12, outcome(Status.DEAD_LETTERED))
    part = watch.arrived(11, watched, watched.events, None, nothing)
    watched.routed((part,), 1)
    assert watched.outcomes(1) == (outcome(Status.DEAD_LETTERED),)


def test_an_event_that_was_settled_in_an_earlier_life_does_not_come_here(worker: Worker) -> None:
    watch, watched = Watch(worker), burst(2)
    part = watch.arrived(11, watched, watched.events, None, lambda offset, _event: offset == 11)
    watched.routed((part,), 1)
    assert watched.outcomes(0) == ()
    assert watched.outcomes(1) is None
    watch.gone(lambda offset, event: offset <= 12 and event is watched.events[1])
    assert watched.outcomes(1) == ()


def test_only_the_events_that_were_offered_count(worker: Worker) -> None:
    watch, watched = Watch(worker), burst(4)
    part = watch.arrived(1, watched, [watched.events[1], watched.events[3]], [1, 3], nothing)
    watched.routed((part,), 1)
    watch.tell(3, outcome())
    watch.tell(4, outcome())
    assert watched.outcomes(0) == watched.outcomes(2) == ()
    assert watched.outcomes(3) == (outcome(),)
    assert watched.outcomes(1) is None


async def test_whoever_waits_is_woken(worker: Worker) -> None:
    watch, watched = Watch(worker), burst(1)
    watched.routed((watch.arrived(1, watched, watched.events, None, nothing),), 1)
    waiting = asyncio.ensure_future(watched.settled(0, watched.events[0]))
    await asyncio.sleep(0)
    watch.tell(1, outcome())
    assert await waiting == (outcome(),)


def test_at_the_end_what_is_left_was_cancelled_and_so_is_what_comes_later(worker: Worker) -> None:
    watch, first, late = Watch(worker), burst(2), burst(1)
    first.routed((watch.arrived(1, first, first.events, None, nothing),), 1)
    watch.tell(1, outcome())
    watch.end()
    late.routed((watch.arrived(3, late, late.events, None, nothing),), 1)
    found: list[Any] = [first.outcomes(0), first.outcomes(1), late.outcomes(0)]
    assert [each[0].status for each in found] == [Status.SUCCEEDED, Status.CANCELLED, Status.CANCELLED]
