"""Lane: CONTROL comes out first, all others as they came in; who waits looks up when something comes, or is nudged."""

from __future__ import annotations

import asyncio
from contextvars import copy_context

import pytest

from eventbus import Event
from eventbus.road.burst import Burst
from eventbus.road.lane import Lane
from eventbus.testing import settle

pytestmark = pytest.mark.virtual_time


def burst(number: int, *, is_urgent: bool = False) -> Burst:
    return Burst(Event("lane.event"), copy_context(), 0, number, 0, is_urgent=is_urgent)


async def test_control_comes_out_first_and_others_as_they_came_in() -> None:
    lane = Lane()
    for one in (burst(2), burst(1), burst(4, is_urgent=True), burst(3, is_urgent=True)):
        lane.put(one)
    assert [lane.take().number for _ in range(4)] == [4, 3, 2, 1]
    assert not lane.bursts


async def test_the_oldest_is_told_wherever_it_stands() -> None:
    lane = Lane()
    assert lane.oldest_ns() is None
    for accepted_ns, is_urgent in ((30, True), (10, False), (20, False)):
        lane.put(Burst(Event("lane.event"), copy_context(), 0, 1, accepted_ns, is_urgent=is_urgent))
    assert lane.oldest_ns() == 10


@pytest.mark.parametrize("looks_up", [lambda lane: lane.put(burst(1)), lambda lane: lane.nudge()], ids=["put", "nudge"])
async def test_who_waits_looks_up_when_something_comes_or_it_is_nudged(looks_up: object) -> None:
    lane = Lane()
    waiting = lane.wait(asyncio.get_running_loop())
    await settle()
    assert not waiting.done()
    assert callable(looks_up)
    looks_up(lane)
    await settle()
    assert waiting.done()


async def test_who_finds_something_there_does_not_wait() -> None:
    lane = Lane()
    lane.put(burst(1))
    async with asyncio.timeout(1):
        await lane.wait(asyncio.get_running_loop())


async def test_what_is_there_goes_along_to_another_loop_and_what_is_left_is_taken_out() -> None:
    lane = Lane()
    lane.put(burst(2))
    lane.put(burst(1))
    lane.move()
    assert [one.number for one in lane.left()] == [2, 1]
    assert not lane.bursts
