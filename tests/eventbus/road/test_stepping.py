"""Stepping: one task runs the handlers of many events, one after the other, and stays with a delivery that waits; whoever publishes,
waits or comes next is not touched by what a handler does to "its" task.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from eventbus import Event, InMemoryEventBus, Retry
from eventbus.testing import VirtualClock, settle

pytestmark = pytest.mark.virtual_time

COLOUR: ContextVar[str] = ContextVar("colour", default="none")


class Asked(Event, type="stepping.asked"):
    n: int = 0


async def warmed(bus: InMemoryEventBus) -> None:
    """The first event of a class goes through the lane."""
    await bus.publish_and_wait(Asked(n=-1))
    await settle()


async def test_who_waits_for_the_outcome_finds_everything_counted(event_bus: InMemoryEventBus) -> None:
    seen: list[int] = []

    async def on_asked(event: Asked) -> None:
        seen.append(event.n)

    event_bus.subscribe(Asked, on_asked)
    await warmed(event_bus)
    assert await event_bus.publish_and_wait(Asked(n=1)) == []
    assert seen == [-1, 1]
    stats = event_bus.stats()
    assert (stats.published, stats.dispatched, stats.succeeded, stats.pending) == (2, 2, 2, 0)
    assert stats.types["stepping.asked"].dispatched == 2


async def test_handlers_that_do_not_wait_share_a_task_and_one_that_waits_keeps_it(event_bus: InMemoryEventBus) -> None:
    """A task for each event would be the second way to do one thing; so would a task for each subscription."""
    tasks: list[object] = []

    async def on_asked(event: Asked) -> None:
        tasks.append(asyncio.current_task())
        if event.n == 3:
            await asyncio.sleep(1)

    event_bus.subscribe(Asked, on_asked)
    event_bus.subscribe(Asked, on_asked)
    await event_bus.publish_many([Asked(n=n) for n in range(3)])
    await event_bus.drain()
    assert len(set(tasks)) == 1
    tasks.clear()
    await event_bus.publish_many([Asked(n=3)])
    await event_bus.drain()
    assert len(tasks) == len(set(tasks)) == 2


async def test_a_handler_that_waits_keeps_nobody_else_from_going_on(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock
) -> None:
    done: list[tuple[str, float]] = []

    async def slow(_event: Asked) -> None:
        await asyncio.sleep(1)
        done.append(("slow", virtual_clock.time()))

    async def quick(_event: Asked) -> None:
        done.append(("quick", virtual_clock.time()))

    event_bus.subscribe(Asked, slow)
    event_bus.subscribe(Asked, quick)
    await event_bus.publish_many([Asked(), Asked()])
    await event_bus.drain()
    assert [who for who, _when in done] == ["quick", "quick", "slow", "slow"]
    assert [when for _who, when in done] == pytest.approx([0, 0, 1, 2])


async def test_others_get_their_turns_beside_a_publisher_that_never_pauses(event_bus: InMemoryEventBus) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def on_asked(_event: Asked) -> None:
        """Nothing to do."""

    event_bus.subscribe(Asked, on_asked)
    beside = asyncio.create_task(others())
    for _ in range(1_000):
        await event_bus.publish_and_wait(Asked())
    assert turns >= 10
    beside.cancel()


async def test_an_event_accepted_before_is_not_overtaken(event_bus: InMemoryEventBus) -> None:
    seen: list[int] = []

    async def on_asked(event: Asked) -> None:
        seen.append(event.n)

    event_bus.subscribe(Asked, on_asked)
    await warmed(event_bus)
    await event_bus.publish(Asked(n=1))
    await event_bus.publish_and_wait(Asked(n=2))
    assert seen == [-1, 1, 2]


@pytest.mark.parametrize("pauses", [False, True])
async def test_a_handler_has_a_task_of_its_own_from_beginning_to_end(event_bus: InMemoryEventBus, pauses: bool) -> None:
    tasks: list[object] = []

    async def on_asked(event: Asked) -> None:
        tasks.append(asyncio.current_task())
        if pauses and event.n > 0:
            await asyncio.sleep(1)
        tasks.append(asyncio.current_task())

    event_bus.subscribe(Asked, on_asked)
    await warmed(event_bus)
    tasks.clear()
    assert await event_bus.publish_and_wait(Asked(n=1)) == []
    assert tasks[0] is tasks[1] is not asyncio.current_task()
    assert asyncio.current_task() is not None


@pytest.mark.parametrize("pauses", [False, True])
async def test_a_handler_that_cancels_its_task_cancels_neither_publisher_nor_the_next(
    event_bus: InMemoryEventBus, pauses: bool
) -> None:
    ran: list[int] = []

    async def on_asked(event: Asked) -> None:
        if event.n == 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            if pauses:
                await asyncio.sleep(1)
        ran.append(event.n)

    event_bus.subscribe(Asked, on_asked)
    await warmed(event_bus)
    errors = await event_bus.publish_and_wait(Asked(n=1))
    assert len(errors) == pauses
    assert await event_bus.publish_and_wait(Asked(n=2)) == []
    assert ran == [-1, 2] if pauses else [-1, 1, 2]


async def test_a_timeout_inside_the_handler_ends_the_handler_alone(event_bus: InMemoryEventBus) -> None:
    async def on_asked(event: Asked) -> None:
        if event.n > 0:
            async with asyncio.timeout(1):
                await asyncio.sleep(5)

    event_bus.subscribe(Asked, on_asked)
    await warmed(event_bus)
    errors = await event_bus.publish_and_wait(Asked(n=1))
    assert [type(error) for error in errors] == [TimeoutError]


async def test_a_publisher_that_is_cancelled_leaves_the_handler_alone(event_bus: InMemoryEventBus) -> None:
    done: list[int] = []

    async def on_asked(event: Asked) -> None:
        await asyncio.sleep(max(0, event.n))
        done.append(event.n)

    event_bus.subscribe(Asked, on_asked)
    publisher = asyncio.create_task(event_bus.publish_and_wait(Asked(n=5)))
    await settle()
    publisher.cancel()
    assert await event_bus.drain()
    assert done == [5]


async def test_everybody_is_waited_for_though_the_first_suspends_and_the_second_fails(
    event_bus: InMemoryEventBus,
) -> None:
    ran: list[str] = []

    async def pauses(event: Asked) -> None:
        if event.n > 0:
            await asyncio.sleep(1)
        ran.append("pauses")

    async def fails(event: Asked) -> None:
        ran.append("fails")
        if event.n > 0 and ran.count("fails") == 2:
            raise OSError("once")

    async def succeeds(_event: Asked) -> None:
        ran.append("succeeds")

    event_bus.subscribe(Asked, pauses)
    event_bus.subscribe(Asked, fails)
    event_bus.subscribe(Asked, succeeds)
    await warmed(event_bus)
    ran.clear()
    ran.append("fails")
    errors = await event_bus.publish_and_wait(Asked(n=1))
    assert [str(error) for error in errors] == ["once"]
    assert sorted(ran) == ["fails", "fails", "pauses", "succeeds"]


async def test_a_failure_is_tried_again_before_it_is_over(event_bus: InMemoryEventBus) -> None:
    attempts: list[int] = []

    async def on_asked(event: Asked) -> None:
        attempts.append(event.n)
        if event.n > 0 and attempts.count(1) < 3:
            raise OSError("not yet")

    event_bus.subscribe(Asked, on_asked, retry=Retry(attempts=3))
    await warmed(event_bus)
    assert await event_bus.publish_and_wait(Asked(n=1)) == []
    assert attempts == [-1, 1, 1, 1]


async def test_a_request_is_answered_by_the_first_that_has_an_answer(event_bus: InMemoryEventBus) -> None:
    async def silent(_event: Asked) -> None:
        """No answer."""

    async def doubles(event: Asked) -> int:
        return 2 * event.n

    event_bus.subscribe(Asked, silent)
    event_bus.subscribe(Asked, doubles)
    await warmed(event_bus)
    assert await event_bus.request(Asked(n=21)) == 42


async def test_a_handler_sees_its_publishers_context_and_changes_nothing_there(event_bus: InMemoryEventBus) -> None:
    seen: list[str] = []

    async def on_asked(_event: Asked) -> None:
        seen.append(COLOUR.get())
        COLOUR.set("green")

    event_bus.subscribe(Asked, on_asked)
    event_bus.subscribe(Asked, on_asked)
    await warmed(event_bus)
    COLOUR.set("red")
    await event_bus.publish_and_wait(Asked(n=1))
    assert seen == ["none", "none", "red", "red"]
    assert COLOUR.get() == "red"


async def test_what_a_handler_publishes_names_its_cause(event_bus: InMemoryEventBus) -> None:
    effects: list[Event] = []

    async def on_asked(event: Asked) -> None:
        if event.n > 0:
            await event_bus.publish("stepping.effect")

    async def on_effect(event: Event) -> None:
        effects.append(event)

    event_bus.subscribe(Asked, on_asked)
    event_bus.subscribe("stepping.effect", on_effect)
    await warmed(event_bus)
    asked = Asked(n=1)
    await event_bus.publish_and_wait(asked)
    await event_bus.drain()
    assert [effect.causation_id for effect in effects] == [asked.event_id]
    assert [event for _depth, event in (await event_bus.explain(asked.event_id)).walk()] == [asked, *effects]


async def test_a_subscription_cancelled_by_the_handler_before_it_gets_nothing(event_bus: InMemoryEventBus) -> None:
    ran: list[str] = []

    async def cancels(event: Asked) -> None:
        if event.n > 0:
            second.cancel()

    async def cancelled(event: Asked) -> None:
        ran.append(f"second {event.n}")

    event_bus.subscribe(Asked, cancels)
    second = event_bus.subscribe(Asked, cancelled)
    await warmed(event_bus)
    await event_bus.publish_and_wait(Asked(n=1))
    assert ran == ["second -1"]
    stats = event_bus.stats()
    assert (stats.cancelled, stats.pending) == (1, 0)


async def test_a_handler_that_stops_the_bus_lets_no_other_begin(event_bus: InMemoryEventBus) -> None:
    ran: list[int] = []

    async def stops(event: Asked) -> None:
        if event.n > 0:
            event_bus.stop()

    async def after(event: Asked) -> None:
        ran.append(event.n)

    event_bus.subscribe(Asked, stops)
    event_bus.subscribe(Asked, after)
    await warmed(event_bus)
    waiting = asyncio.create_task(event_bus.publish_and_wait(Asked(n=1)))
    await settle()
    assert ran == [-1]
    await event_bus.connect()
    assert await waiting == []
    assert ran == [-1, 1]


async def test_an_error_that_is_kept_holds_the_frames_of_its_handler_only(event_bus: InMemoryEventBus) -> None:
    """With a frame of the bus it would hold the events that ran beside it."""

    async def on_asked(event: Asked) -> None:
        if event.n == 1:
            raise ValueError

    event_bus.subscribe(Asked, on_asked)
    receipts = [event_bus.publish_nowait(Asked(n=n)) for n in range(3)]
    (outcome,) = await receipts[1]
    assert isinstance(outcome.error, ValueError)
    trace = outcome.error.__traceback__
    assert trace is not None
    assert (trace.tb_frame.f_code, trace.tb_next) == (on_asked.__code__, None)
