"""R10 to R12: what a stop leaves is drained by the shutdown that follows, waiting threads are told, and nothing is lost after it."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from eventbus import BusStopped, DeadLetter, Event, InMemoryEventBus, Retry, UsageError
from eventbus.testing import Recorder, VirtualLoop, settle

pytestmark = pytest.mark.virtual_time

Letters = Callable[[Any], Awaitable[list[DeadLetter]]]


class OrderPlaced(Event, type="found.ending.order"):
    n: int = 0


class OrderBooked(Event, type="found.ending.booked"):
    n: int = 0


async def takes_a_while(_event: Event) -> None:
    await asyncio.sleep(0.3)


# --- R10: stop, then shutdown ----------------------------------------------------------------------------------------

POLICIES: list[dict[str, Any]] = [{}, {"timeout": 60}, {"concurrency": 2}, {"isolation": "task"}, {"queue_size": 9}]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
async def test_a_handler_that_runs_at_the_stop_ends_in_peace_and_what_waits_is_handled(
    idle_bus: InMemoryEventBus, policy: dict[str, Any]
) -> None:
    ended: list[int] = []

    async def handler(event: OrderPlaced) -> None:
        await asyncio.sleep(0.3)
        ended.append(event.n)

    idle_bus.subscribe(OrderPlaced, handler, **policy)
    running = asyncio.create_task(idle_bus.run_forever())
    await settle()
    for n in range(5):
        await idle_bus.publish(OrderPlaced(n=n))
    await asyncio.sleep(0.1)
    idle_bus.stop()
    report = await idle_bus.shutdown(5)
    await running
    assert sorted(ended) == [0, 1, 2, 3, 4]
    assert (report.drained, report.left, report.abandoned) == (True, 0, ())


async def test_what_waits_behind_a_sync_handler_at_the_stop_is_handled() -> None:
    loop, ended = asyncio.get_running_loop(), list[int]()
    assert isinstance(loop, VirtualLoop)
    pool = loop.pool(2)
    bus = InMemoryEventBus(clock=loop.clock, pool=pool)
    with pool.gate() as gate:

        def handler(event: OrderPlaced) -> None:
            gate.wait()
            ended.append(event.n)

        bus.subscribe(OrderPlaced, handler)
        await bus.connect()
        for n in range(3):
            await bus.publish(OrderPlaced(n=n))
        await settle()
        bus.stop()
        ending = asyncio.create_task(bus.shutdown(5))
        await settle()
        gate.lift()
        report = await ending
    assert ended == [0, 1, 2]
    assert (report.drained, report.left) == (True, 0)


async def test_cascades_still_enter_while_a_stopped_bus_is_shut_down(idle_bus: InMemoryEventBus) -> None:
    booked = Recorder()

    async def book(event: OrderPlaced) -> None:
        await asyncio.sleep(0.3)
        await idle_bus.publish(OrderBooked(n=event.n))

    idle_bus.subscribe(OrderPlaced, book)
    idle_bus.subscribe(OrderBooked, booked)
    await idle_bus.connect()
    for n in range(2):
        await idle_bus.publish(OrderPlaced(n=n))
    await asyncio.sleep(0.1)
    idle_bus.stop()
    report = await idle_bus.shutdown(5)
    assert booked.values("n") == [0, 1]
    assert (report.drained, report.left) == (True, 0)


async def test_a_retry_that_waits_at_the_stop_is_made_before_the_shutdown_ends(idle_bus: InMemoryEventBus) -> None:
    attempts: list[int] = []

    async def fail_once(event: OrderPlaced) -> None:
        attempts.append(event.n)
        if len(attempts) == 1:
            raise OSError("not yet")

    idle_bus.subscribe(OrderPlaced, fail_once, retry=Retry(attempts=2, delay=1, jitter=False))
    await idle_bus.connect()
    await idle_bus.publish(OrderPlaced(n=7))
    await settle()
    idle_bus.stop()
    report = await idle_bus.shutdown(5)
    assert attempts == [7, 7]
    assert (report.drained, report.left) == (True, 0)


async def test_what_was_accepted_and_not_dispatched_at_the_stop_is_handled(idle_bus: InMemoryEventBus) -> None:
    heard = Recorder()
    idle_bus.subscribe(OrderPlaced, heard)
    await idle_bus.connect()
    receipt = await idle_bus.publish(OrderPlaced(n=1))
    idle_bus.stop()
    report = await idle_bus.shutdown(5)
    assert heard.values("n") == [1]
    assert (report.drained, report.left) == (True, 0)
    assert [str(outcome.status) for outcome in await receipt] == ["succeeded"]


async def test_leaving_the_bus_after_a_stop_drains_it(idle_bus: InMemoryEventBus) -> None:
    ended: list[int] = []

    async def handler(event: OrderPlaced) -> None:
        await asyncio.sleep(0.3)
        ended.append(event.n)

    idle_bus.subscribe(OrderPlaced, handler)
    async with idle_bus:
        for n in range(2):
            await idle_bus.publish(OrderPlaced(n=n))
        await asyncio.sleep(0.1)
        idle_bus.stop()
    assert ended == [0, 1]


async def test_a_handler_may_stop_the_bus_and_who_shuts_it_down_drains_the_rest(idle_bus: InMemoryEventBus) -> None:
    heard = Recorder(lambda event: idle_bus.stop() if event.n == 0 else None)
    idle_bus.subscribe(OrderPlaced, heard)
    running = asyncio.create_task(idle_bus.run_forever())
    await settle()
    for n in range(3):
        await idle_bus.publish(OrderPlaced(n=n))
    await running
    assert heard.values("n") == [0]
    report = await idle_bus.shutdown(5)
    assert heard.values("n") == [0, 1, 2]
    assert (report.drained, report.left) == (True, 0)


async def test_what_does_not_end_in_time_is_left_as_by_shutdown_alone(idle_bus: InMemoryEventBus) -> None:
    async def hang(_event: Event) -> None:
        await asyncio.sleep(3600)

    idle_bus.subscribe(OrderPlaced, hang)
    await idle_bus.connect()
    for n in range(2):
        await idle_bus.publish(OrderPlaced(n=n))
    await settle()
    idle_bus.stop()
    report = await idle_bus.shutdown(5)
    assert not report.drained
    assert report.left == 1  # that of the attempt which was cancelled has its outcome
    assert len(report.abandoned) == 1


async def test_a_shutdown_after_a_stop_waits_as_long_as_it_was_told(idle_bus: InMemoryEventBus) -> None:
    async def hang(_event: Event) -> None:
        await asyncio.sleep(3600)

    loop = asyncio.get_running_loop()
    idle_bus.subscribe(OrderPlaced, hang)
    await idle_bus.connect()
    await idle_bus.publish(OrderPlaced())
    await settle()
    idle_bus.stop()
    began = loop.time()
    await idle_bus.shutdown(5)
    assert loop.time() - began >= 5


@pytest.mark.skipif(not hasattr(signal, "SIGTERM"), reason="no SIGTERM on this platform")
@pytest.mark.virtual_time(only=False)
async def test_a_program_whose_sigterm_is_wired_to_stop_drains_in_its_shutdown() -> None:
    bus, loop, stopped, began, go = InMemoryEventBus(), asyncio.get_running_loop(), *(asyncio.Event() for _ in "123")
    ended: list[int] = []

    async def handler(event: OrderPlaced) -> None:
        began.set()
        await go.wait()
        ended.append(event.n)

    def on_signal() -> None:
        bus.stop()
        stopped.set()

    bus.subscribe(OrderPlaced, handler)
    running = asyncio.create_task(bus.run_forever())
    loop.add_signal_handler(signal.SIGTERM, on_signal)
    try:
        for n in range(3):
            await bus.publish(OrderPlaced(n=n))
        await began.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await stopped.wait()
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
    await running
    ending = asyncio.create_task(bus.shutdown(5))
    await asyncio.sleep(0)
    go.set()
    report = await ending
    assert ended == [0, 1, 2]
    assert (report.drained, report.left) == (True, 0)


# --- R11: threads ----------------------------------------------------------------------------------------------------

FULL: list[dict[str, Any]] = [{}, {"queue_size": 2}]  # the door, the queue of one subscription


async def full(bus: InMemoryEventBus, **policy: Any) -> None:
    """Fill the bus, so that whoever publishes now waits."""
    bus.subscribe(OrderPlaced, takes_a_while, **policy).pause()
    await bus.connect()
    for n in range(2):
        await bus.publish(OrderPlaced(n=n))
    await settle()


@pytest.mark.parametrize("stops", [False, True], ids=["running", "stopped"])
@pytest.mark.parametrize("policy", FULL, ids=str)
async def test_what_a_thread_could_not_publish_before_the_shutdown_was_refused(
    policy: dict[str, Any], stops: bool
) -> None:
    bus = InMemoryEventBus(max_queue_size=9 if policy else 2)
    await full(bus, **policy)
    waiting = [bus.publish_threadsafe(OrderPlaced(n=n)) for n in (8, 9)]
    await settle()
    assert not any(future.done() for future in waiting)
    if stops:
        bus.stop()
    await bus.shutdown(timeout=0)
    await settle()
    assert [(future.done(), future.cancelled()) for future in waiting] == [(True, False)] * 2
    assert [type(future.exception(timeout=0)) for future in waiting] == [BusStopped] * 2


@pytest.mark.parametrize("stops", [False, True], ids=["running", "stopped"])
@pytest.mark.virtual_time(only=False)
async def test_a_thread_that_waits_at_the_door_gets_an_error_that_it_can_catch(stops: bool) -> None:
    bus, loop, entered = InMemoryEventBus(max_queue_size=2), asyncio.get_running_loop(), asyncio.Event()
    told: list[BaseException] = []

    def publish() -> None:
        future = bus.publish_threadsafe(OrderPlaced(n=9))
        loop.call_soon_threadsafe(entered.set)
        try:
            future.result(timeout=60)
        except BaseException as error:  # noqa: BLE001 - which one it is, is the question
            told.append(error)

    await full(bus)
    thread = threading.Thread(target=publish)
    thread.start()
    await entered.wait()
    await settle()
    if stops:
        bus.stop()
    await bus.shutdown(timeout=0)
    await settle()
    thread.join()
    assert [type(error) for error in told] == [BusStopped]


@pytest.mark.parametrize("stops", [False, True], ids=["running", "stopped"])
async def test_what_a_thread_hands_over_right_before_the_shutdown_is_refused_when_there_is_no_room(stops: bool) -> None:
    bus = InMemoryEventBus(max_queue_size=2)
    await full(bus)
    if stops:
        bus.stop()
    future = bus.publish_threadsafe(OrderPlaced(n=9))
    await bus.shutdown(timeout=0)
    await settle()
    assert type(future.exception(timeout=0)) is BusStopped


async def test_a_thread_that_publishes_after_the_shutdown_is_refused() -> None:
    bus = InMemoryEventBus()
    await bus.connect()
    await bus.shutdown(timeout=1)
    future = bus.publish_threadsafe(OrderPlaced())
    await settle()
    assert isinstance(future.exception(timeout=0), BusStopped)


def test_a_thread_that_waits_when_the_loop_ends_without_a_shutdown_is_told_so() -> None:
    bus = InMemoryEventBus(max_queue_size=2)

    async def main() -> Any:
        await full(bus)
        future = bus.publish_threadsafe(OrderPlaced(n=9))
        await settle()
        return future

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        future = runner.run(main())
    assert isinstance(future.exception(timeout=0), UsageError)


@pytest.mark.parametrize("room", [2, 3], ids=["full", "room"])
@pytest.mark.parametrize("turns", range(4))
def test_a_thread_that_publishes_in_the_last_turns_of_a_loop_gets_an_answer(turns: int, room: int) -> None:
    bus = InMemoryEventBus(max_queue_size=room)

    async def main() -> Any:
        await full(bus)
        future = bus.publish_threadsafe(OrderPlaced(n=9))
        for _ in range(turns):
            await asyncio.sleep(0)
        return future

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        future = runner.run(main())
    gc.collect()
    error = future.exception(timeout=0)
    assert error is None or isinstance(error, UsageError)


async def test_a_thread_that_publishes_at_any_moment_of_a_shutdown_gets_an_answer() -> None:
    bus, loop, asked = InMemoryEventBus(max_queue_size=2), asyncio.get_running_loop(), list[Any]()

    def ask(turns: int) -> None:
        asked.append(bus.publish_threadsafe(OrderPlaced(n=turns)))
        if turns:
            loop.call_soon(ask, turns - 1)

    await full(bus)
    loop.call_later(1, ask, 20)  # in the turn in which the shutdown gives up, and in those after it
    await bus.shutdown(timeout=1)
    await settle()
    assert {type(future.exception(timeout=0)) for future in asked} == {BusStopped}


# --- R12: after the end ----------------------------------------------------------------------------------------------


async def redrive(bus: Any) -> int:
    """A coroutine, whatever kind of function it is."""
    redriven = bus.dead_letters.redrive()
    return int(await redriven if inspect.isawaitable(redriven) else redriven)


async def fail(_event: Event) -> None:
    raise ValueError("no")


class LastPrice(Event, type="found.ending.price", retain=True):
    pass


async def test_nothing_is_pending_for_who_subscribes_after_the_end(idle_bus: InMemoryEventBus) -> None:
    async with idle_bus:
        await idle_bus.publish(LastPrice())
    late = idle_bus.subscribe(LastPrice, fail, replay_last=True)
    assert (late.stats().accepted, idle_bus.stats().pending) == (0, 0)


async def test_redrive_after_shutdown_is_refused_and_loses_nothing(
    idle_bus: InMemoryEventBus, letters_of: Letters
) -> None:
    idle_bus.subscribe(OrderPlaced, fail)
    async with idle_bus:
        for n in range(3):
            await idle_bus.publish(OrderPlaced(n=n))
        await idle_bus.drain()
    kept = await letters_of(idle_bus)
    with pytest.raises(BusStopped):
        await redrive(idle_bus)
    assert await letters_of(idle_bus) == kept
    assert [letter.event["n"] for letter in kept] == [0, 1, 2]


async def test_redrive_on_a_stopped_bus_is_handled_when_it_runs_again(
    idle_bus: InMemoryEventBus, letters_of: Letters
) -> None:
    broken, heard = True, list[int]()

    async def handler(event: OrderPlaced) -> None:
        if broken:
            raise ValueError("no")
        heard.append(event.n)

    idle_bus.subscribe(OrderPlaced, handler)
    await idle_bus.connect()
    await idle_bus.publish(OrderPlaced(n=1))
    await idle_bus.drain()
    broken = False
    idle_bus.stop()
    await settle()
    assert await redrive(idle_bus) == 1
    await idle_bus.connect()
    assert await idle_bus.drain(timeout=60)
    assert heard == [1]
    assert await letters_of(idle_bus) == []
    await idle_bus.shutdown(timeout=1)


async def test_connect_right_after_stop_starts(idle_bus: InMemoryEventBus) -> None:
    heard = Recorder()
    idle_bus.subscribe(OrderPlaced, heard)
    for n in range(3):
        await idle_bus.connect()
        assert idle_bus.is_running
        assert await idle_bus.publish_and_wait(OrderPlaced(n=n)) == []
        idle_bus.stop()
    assert heard.values("n") == [0, 1, 2]


async def test_run_forever_right_after_stop_starts(idle_bus: InMemoryEventBus) -> None:
    heard = Recorder()
    idle_bus.subscribe(OrderPlaced, heard)
    await idle_bus.connect()
    idle_bus.stop()
    running = asyncio.create_task(idle_bus.run_forever())
    await settle()
    assert idle_bus.is_running
    assert await idle_bus.publish_and_wait(OrderPlaced(n=1)) == []
    idle_bus.stop()
    await running
    assert heard.values("n") == [1]


async def test_connect_after_stop_while_a_run_of_somebody_is_ending_starts(idle_bus: InMemoryEventBus) -> None:
    heard = Recorder()
    idle_bus.subscribe(OrderPlaced, heard)
    running = asyncio.create_task(idle_bus.run_forever())
    await settle()
    idle_bus.stop()
    await idle_bus.connect()
    await running
    assert idle_bus.is_running
    assert await idle_bus.publish_and_wait(OrderPlaced(n=1)) == []
    assert heard.values("n") == [1]


async def test_leaving_after_a_stop_and_a_connect_drains(idle_bus: InMemoryEventBus) -> None:
    heard = Recorder(takes_a_while)
    idle_bus.subscribe(OrderPlaced, heard)
    async with idle_bus:
        idle_bus.stop()
        await idle_bus.connect()
        for n in range(3):
            await idle_bus.publish(OrderPlaced(n=n))
    assert heard.values("n") == [0, 1, 2]


async def test_after_shutdown_nothing_starts_the_bus_again(idle_bus: InMemoryEventBus) -> None:
    await idle_bus.connect()
    await idle_bus.shutdown(timeout=1)
    with pytest.raises(BusStopped):
        await idle_bus.connect()
    with pytest.raises(BusStopped):
        await idle_bus.run_forever()
