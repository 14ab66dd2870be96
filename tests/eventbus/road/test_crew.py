"""Crew: what a bus started is known until it ends, and ends with the bus; timers need a loop that lives."""

from __future__ import annotations

import asyncio

import pytest

from eventbus import SystemClock
from eventbus.road.crew import Crew
from eventbus.testing import VirtualClock, settle

pytestmark = pytest.mark.virtual_time


def crew_here(clock: VirtualClock) -> Crew:
    crew = Crew(clock, grace=1.0)
    crew.bind(asyncio.get_running_loop())
    return crew


async def test_what_it_started_is_cancelled_with_it(virtual_clock: VirtualClock) -> None:
    crew = crew_here(virtual_clock)
    task = crew.start(asyncio.sleep(100))
    await settle()
    await crew.end(None)
    assert task.cancelled()


async def test_who_ends_it_and_what_ended_are_left_alone(virtual_clock: VirtualClock) -> None:
    crew = crew_here(virtual_clock)
    done = crew.start(asyncio.sleep(0))
    await settle()
    ending = crew.start(crew.end(None))
    await ending
    assert not done.cancelled()


async def test_what_ignores_its_cancellation_is_not_waited_for_longer_than_a_moment(
    virtual_clock: VirtualClock,
) -> None:
    crew, gate = crew_here(virtual_clock), asyncio.Event()

    async def stubborn() -> None:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    task = crew.start(stubborn())
    await settle()
    await crew.end(None)
    assert virtual_clock.time() < 1
    assert not task.done()
    gate.set()
    await task


async def test_an_abandoned_task_is_told_of_when_it_ends_after_all(virtual_clock: VirtualClock) -> None:
    crew, back = crew_here(virtual_clock), list[bool]()
    task = asyncio.create_task(asyncio.sleep(5))
    crew.abandon(task, lambda: back.append(True))
    await virtual_clock.advance(4)
    assert back == []
    await virtual_clock.advance(2)
    assert back == [True]


async def test_a_run_ends_by_itself_and_is_waited_for(virtual_clock: VirtualClock) -> None:
    crew = crew_here(virtual_clock)
    main = asyncio.create_task(asyncio.sleep(0.05))
    await crew.end(main)
    assert main.done()
    assert not main.cancelled()


def test_without_a_loop_there_is_no_timer_and_nothing_waits_for_a_turn() -> None:
    crew, called = Crew(SystemClock(), grace=1.0), list[int]()
    assert crew.call_later(1, called.append, 1) is None
    assert crew.deadline_in(1) is None
    crew.call_soon(called.append, 2)
    assert called == [2]


async def test_a_closed_loop_takes_no_timer(virtual_clock: VirtualClock) -> None:
    crew, loop = Crew(virtual_clock, grace=1.0), asyncio.new_event_loop()
    crew.bind(loop)
    loop.close()
    assert crew.call_later(1, print) is None


async def test_the_end_of_a_coroutine_whose_loop_is_gone_is_told_from_a_failure(virtual_clock: VirtualClock) -> None:
    crew = crew_here(virtual_clock)
    assert not crew.is_closing(GeneratorExit())
    crew.bind(None)
    assert crew.is_closing(GeneratorExit())
    assert not crew.is_closing(ValueError())
