"""Places: what is occupied, promised and settled; handlers and CONTROL have some of their own; who waits is let in in order."""

from __future__ import annotations

import asyncio
from contextvars import copy_context

import pytest

from eventbus import BusStopped, Event, WouldDeadlock
from eventbus.road.burst import Burst
from eventbus.road.places import Places
from eventbus.testing import VirtualClock, settle

pytestmark = pytest.mark.virtual_time


def places(size: int = 2, reserve: int = 1, max_bytes: int | None = None) -> Places:
    return Places(size, reserve, max_bytes, lambda: None)


def enter(into: Places, events: int = 1) -> None:
    for number in range(events):
        burst = Burst(Event("places.event"), copy_context(), 0, number, 0)
        into.fill(burst)
        into.close(burst)


def room(there: Places, *, is_inside: bool = False, is_urgent: bool = False, is_promised: bool = False) -> int:
    return there.room_for_burst(is_inside=is_inside, is_urgent=is_urgent, is_promised=is_promised)


def test_what_joins_the_burst_being_filled_is_occupied_at_once_and_until_it_is_settled() -> None:
    there, burst = places(), Burst(Event("places.event"), copy_context(), 0, 1, 0)
    there.fill(burst)
    burst.events.append(Event("places.event"))
    assert (there.accepted, there.occupied) == (2, 2)
    assert there.close(burst) == 2
    there.give_back(1)
    assert (there.accepted, there.occupied) == (2, 1)


def test_a_full_house_has_room_for_handlers_and_for_control_and_for_whom_it_was_promised() -> None:
    there = places()
    enter(there, 2)
    assert not room(there)
    assert room(there, is_inside=True)
    assert room(there, is_urgent=True)
    assert room(there, is_promised=True)
    enter(there)
    with pytest.raises(WouldDeadlock):
        room(there, is_inside=True)


def test_who_keeps_places_without_need_is_asked_when_it_is_full() -> None:
    there = Places(1, 1, None, lambda: there.give_back(1))
    enter(there)
    assert room(there)


def test_a_burst_may_have_what_is_left_and_a_handlers_what_is_reserved() -> None:
    there = places(size=3, reserve=2)
    enter(there)
    assert room(there) == 2
    assert room(there, is_urgent=True) > 1_000
    enter(there, 2)
    assert room(there, is_inside=True) == 2


async def test_who_waits_is_let_in_in_order_of_arrival(virtual_clock: VirtualClock) -> None:
    there = places()
    enter(there, 2)
    waiting = [asyncio.create_task(there.room()) for _ in range(2)]
    await settle()
    assert there.has_waiting
    there.give_back(1)
    await virtual_clock.advance(0.01)
    assert [task.done() for task in waiting] == [True, False]
    waiting[1].cancel()
    await settle()
    assert not there.has_waiting


async def test_one_that_is_cancelled_with_its_promise_gives_it_to_the_next() -> None:
    there = places(size=1)
    enter(there)
    first, second = [asyncio.create_task(there.room()) for _ in range(2)]
    await settle()
    there.give_back(1)
    first.cancel()
    await settle()
    assert first.cancelled()
    assert second.done()
    assert there.occupied == 0


async def test_who_waits_when_it_is_shut_is_told() -> None:
    there = places(size=1)
    enter(there)
    waiting = asyncio.create_task(there.room())
    await settle()
    there.refuse_waiting()
    with pytest.raises(BusStopped):
        await waiting


def test_with_a_bound_in_bytes_it_is_full_at_so_many_and_says_so() -> None:
    there = places(size=100, max_bytes=1)
    assert there.whose == "the bus"
    assert there.budget is not None
    enter(there)
    assert not room(there)
    assert there.whose == "the bus, full at 1 bytes,"
    assert places().budget is None
