"""Faults that handlers, publishers and owners of a bus bring along, and what the bus makes of them.

The sections carry the numbers of the fault matrix. What a handler may raise or cancel is in `test_asyncio_traps`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from eventbus import (
    BusStopped,
    DeliveryError,
    Event,
    HandlerTimeout,
    HopLimit,
    InMemoryEventBus,
    Kind,
    Overflow,
    QueueFull,
    ReentrantStop,
    Retry,
    Status,
    WouldDeadlock,
    WrongLoop,
)
from eventbus.log import log
from eventbus.testing import Gate, Recorder, VirtualClock, VirtualLoop, VirtualPool, settle

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def pool() -> VirtualPool:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.pool(max_workers=2)


@pytest.fixture
async def threads_bus(pool: VirtualPool, virtual_clock: VirtualClock) -> Any:
    bus = InMemoryEventBus(pool=pool, clock=virtual_clock)
    async with bus:
        yield bus


@pytest.fixture
def gate(pool: VirtualPool) -> Iterator[Gate]:
    with pool.gate() as gate:
        yield gate


class Ignoring:
    """A handler that swallows every cancellation until it is released."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.running = 0

    async def __call__(self, _event: Event) -> None:
        self.running += 1
        while not self.release.is_set():
            with suppress(asyncio.CancelledError):
                await self.release.wait()
        self.running -= 1


# --- 25, 26: handlers that never return --------------------------------------------------------------------------


async def test_subscription_pauses_when_too_many_attempts_were_abandoned(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock
) -> None:
    hang = Ignoring()
    healthy = Recorder()
    stuck = event_bus.subscribe("order.placed", hang, timeout=1, concurrency=8)
    event_bus.subscribe("order.placed", healthy)
    for _ in range(100):
        await event_bus.publish("order.placed")
    await virtual_clock.advance(3600)
    stats = stuck.stats()
    assert stuck.is_paused
    assert 64 <= stats.abandoned <= 72
    assert stats.abandoned + stats.pending == 100
    assert len(healthy) == 100
    hang.release.set()
    await settle()
    assert hang.running == 0


async def test_shutdown_is_bounded_whatever_handlers_do(
    threads_bus: InMemoryEventBus, gate: Gate, virtual_clock: VirtualClock
) -> None:
    hang = Ignoring()
    threads_bus.subscribe("order.placed", hang, name="ignores", timeout=60)
    threads_bus.subscribe("order.placed", lambda _event: gate.wait(), name="thread")

    async def for_ever(_event: Event) -> None:
        await asyncio.Event().wait()

    threads_bus.subscribe("order.placed", for_ever, name="waits")
    await threads_bus.publish("order.placed")
    await settle()
    started = virtual_clock.time()
    report = await threads_bus.shutdown(timeout=5)
    assert virtual_clock.time() - started <= 5.5
    assert not report.drained
    assert {line.split(":")[0] for line in report.abandoned} == {"ignores", "thread", "waits"}
    assert report.duration_s <= 5.5
    hang.release.set()
    await settle()


async def test_async_handler_that_never_returns_keeps_nobody_waiting(event_bus: InMemoryEventBus) -> None:
    healthy = Recorder()
    stuck = event_bus.subscribe("order.placed", lambda _event: asyncio.Event().wait())
    event_bus.subscribe("order.placed", healthy)
    for n in range(10):
        await event_bus.publish("order.placed", {"n": n})
    await settle()
    assert healthy.values("n") == list(range(10))
    assert (stuck.stats().in_flight, stuck.stats().queued) == (1, 9)


async def test_thread_of_an_abandoned_attempt_is_replaced(
    threads_bus: InMemoryEventBus, gate: Gate, virtual_clock: VirtualClock
) -> None:
    def hang_once(event: Event) -> str:
        if event["n"] == 0:
            gate.wait()
        return "done"

    subscription = threads_bus.subscribe("order.placed", hang_once, timeout=2)
    receipts = [await threads_bus.publish("order.placed", {"n": n}) for n in range(4)]
    outcomes = [(await receipt)[0] for receipt in receipts]
    assert isinstance(outcomes[0].error, HandlerTimeout)
    assert [outcome.status for outcome in outcomes[1:]] == [Status.SUCCEEDED] * 3
    assert threads_bus.stats().replaced_threads == 1
    assert subscription.stats().abandoned == 1
    gate.lift()
    await settle()
    assert subscription.stats().pending == 0


# --- 28: one slow handler among many -----------------------------------------------------------------------------


async def test_slow_handler_delays_nobody_else(event_bus: InMemoryEventBus, virtual_clock: VirtualClock) -> None:
    served: list[float] = []

    async def slow(_event: Event) -> None:
        await asyncio.sleep(1)

    async def quick(_event: Event) -> None:
        served.append(virtual_clock.time())

    event_bus.subscribe("order.placed", slow)
    event_bus.subscribe("order.placed", quick)
    for _ in range(50):
        await event_bus.publish("order.placed")
    assert await event_bus.drain()
    assert set(served) == {0.0}
    assert virtual_clock.time() == pytest.approx(50)


# --- 29: the pool is exhausted -----------------------------------------------------------------------------------


async def test_hung_threads_of_others_starve_nobody(threads_bus: InMemoryEventBus, gate: Gate) -> None:
    for number in range(6):  # three times the threads there are
        threads_bus.subscribe("order.hung", lambda _event: gate.wait(), name=f"hung-{number}")
    answers: list[int] = []
    threads_bus.subscribe("order.placed", lambda event: answers.append(event["n"]))
    await threads_bus.publish("order.hung")
    await settle()
    for n in range(5):
        await threads_bus.publish("order.placed", {"n": n})
    await asyncio.sleep(60)
    await settle()
    assert answers == list(range(5))
    assert threads_bus.stats().replaced_threads > 0


async def test_subscription_holds_no_more_threads_than_its_concurrency(
    threads_bus: InMemoryEventBus, gate: Gate
) -> None:
    running = 0
    most = 0
    lock = threading.Lock()

    def count(_event: Event) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait()
        with lock:
            running -= 1

    threads_bus.subscribe("order.placed", count)
    for _ in range(5):
        await threads_bus.publish("order.placed")
    await asyncio.sleep(30)
    assert (running, most) == (1, 1)
    gate.lift()
    assert await threads_bus.drain()
    assert most == 1


# --- 30: publishing from a handler into a full bus, and in circles -------------------------------------------------


@pytest.mark.event_bus(max_queue_size=2, reserve=3)
async def test_handler_that_fills_the_bus_is_refused_at_once(event_bus: InMemoryEventBus) -> None:
    async def multiply(_event: Event) -> None:
        for _ in range(20):
            await event_bus.publish("order.child")

    async def ignore(_event: Event) -> None:
        """Children end here."""

    event_bus.subscribe("order.placed", multiply)
    event_bus.subscribe("order.child", ignore)
    (outcome,) = await (await event_bus.publish("order.placed"))
    assert isinstance(outcome.error, WouldDeadlock)
    assert await event_bus.drain()
    assert event_bus.stats().reserve_used == 3
    assert event_bus.get_stats()["published"] == 1 + 1 + 3  # itself, one more place, the reserve


@pytest.mark.parametrize("size", [1, 2])
async def test_circle_of_two_handlers_ends_at_the_hop_limit(size: int, virtual_clock: VirtualClock) -> None:
    errors: list[BaseException] = []
    bus = InMemoryEventBus(max_queue_size=size, clock=virtual_clock)

    async def ping(_event: Event) -> None:
        try:
            await bus.publish("pong.sent")
        except DeliveryError as error:
            errors.append(error)

    async def pong(_event: Event) -> None:
        try:
            await bus.publish("ping.sent")
        except DeliveryError as error:
            errors.append(error)

    bus.subscribe("ping.sent", ping)
    bus.subscribe("pong.sent", pong)
    async with bus:
        await bus.publish("ping.sent")
        assert await bus.drain(timeout=10)
    (error,) = errors
    assert isinstance(error, HopLimit)
    assert error.limit == 32
    assert bus.get_stats()["published"] == 33


@pytest.mark.event_bus(max_queue_size=200, reserve=50)
async def test_circle_of_fan_outs_ends_and_is_counted(event_bus: InMemoryEventBus) -> None:
    refused = 0

    async def twice(_event: Event) -> None:
        nonlocal refused
        for _ in range(2):
            try:
                await event_bus.publish("echo.heard")
            except DeliveryError:
                refused += 1

    event_bus.subscribe("echo.heard", twice)
    await event_bus.publish("echo.heard")
    assert await event_bus.drain(timeout=10)
    assert refused > 0
    assert event_bus.get_stats()["pending"] == 0


@pytest.mark.event_bus(max_queue_size=1)
async def test_handler_never_waits_for_a_queue_of_its_own(event_bus: InMemoryEventBus) -> None:
    """A subscription with a queue of its own shuts the door to handlers too: they are refused, they do not wait."""
    full = event_bus.subscribe("order.child", lambda _event: asyncio.Event().wait(), queue_size=1)
    errors: list[BaseException] = []

    async def multiply(_event: Event) -> None:
        for _ in range(3):
            try:
                await event_bus.publish("order.child")
            except WouldDeadlock as error:
                errors.append(error)

    event_bus.subscribe("order.placed", multiply)
    await event_bus.publish_and_wait("order.placed")
    await settle()
    assert len(errors) == 2
    assert full.stats().accepted == 1


# --- 31: waiting for one's own end ---------------------------------------------------------------------------------


async def directly(call: Callable[[], Any]) -> None:
    await call()


async def in_child_task(call: Callable[[], Any]) -> None:
    async def child() -> None:
        await call()

    await asyncio.create_task(child())


async def in_thread(call: Callable[[], Any]) -> None:
    async def run() -> None:
        await call()

    await asyncio.to_thread(lambda: asyncio.run(run()))


@pytest.mark.parametrize("isolation", ["auto", "task"])
@pytest.mark.parametrize("way", [directly, in_child_task, in_thread])
@pytest.mark.parametrize("what", ["shutdown", "close"])
async def test_waiting_for_the_end_inside_a_handler_is_refused(
    event_bus: InMemoryEventBus, what: str, way: Callable[[Callable[[], Any]], Any], isolation: Any
) -> None:
    async def handler(_event: Event) -> None:
        await way(getattr(event_bus, what))

    event_bus.subscribe("order.placed", handler, isolation=isolation)
    (error,) = await event_bus.publish_and_wait("order.placed")
    assert isinstance(error, ReentrantStop)
    assert "stop()" in str(error)
    assert event_bus.is_running


@pytest.mark.parametrize("way", [directly, in_child_task])
async def test_awaiting_the_cancellation_of_itself_is_refused(
    event_bus: InMemoryEventBus, way: Callable[[Callable[[], Any]], Any]
) -> None:
    async def handler(_event: Event) -> None:
        async def cancel() -> None:
            await subscription.cancel()

        await way(cancel)

    subscription = event_bus.subscribe("order.placed", handler)
    (error,) = await event_bus.publish_and_wait("order.placed")
    assert isinstance(error, ReentrantStop)


async def test_sync_handler_in_a_thread_cannot_wait_for_the_end(threads_bus: InMemoryEventBus) -> None:
    def handler(_event: Event) -> None:
        asyncio.run(threads_bus.shutdown())

    threads_bus.subscribe("order.placed", handler)
    (error,) = await threads_bus.publish_and_wait("order.placed")
    assert isinstance(error, ReentrantStop)


async def test_handler_may_ask_the_bus_to_stop(virtual_clock: VirtualClock) -> None:
    bus = InMemoryEventBus(clock=virtual_clock)
    heard: list[int] = []

    async def handler(event: Event) -> None:
        heard.append(event["n"])
        if event["n"] == 1:
            bus.stop()

    bus.subscribe("order.placed", handler)
    for n in range(4):
        await bus.publish("order.placed", {"n": n})
    await bus.run_forever()
    assert heard == [0, 1]
    assert bus.get_stats()["pending"] == 2


async def test_task_left_behind_by_a_handler_may_shut_the_bus_down(event_bus: InMemoryEventBus) -> None:
    reports: list[Any] = []
    tasks: list[asyncio.Task[None]] = []

    async def end() -> None:
        await asyncio.sleep(1)
        reports.append(await event_bus.shutdown())

    async def handler(_event: Event) -> None:
        tasks.append(asyncio.create_task(end()))

    event_bus.subscribe("order.placed", handler)
    await event_bus.publish("order.placed")
    await asyncio.sleep(5)
    assert [report.drained for report in reports] == [True]


# --- 32: from another thread, from another loop, after the end -----------------------------------------------------


async def from_thread(call: Callable[[], Any]) -> Any:
    """What the call returns or raises, in a thread without the caller's context."""
    outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - it is what the test is about
            loop.call_soon_threadsafe(outcome.set_exception, error)
        else:
            loop.call_soon_threadsafe(outcome.set_result, result)

    threading.Thread(target=run, daemon=True).start()
    return await outcome


async def test_publish_from_another_thread_is_refused(event_bus: InMemoryEventBus) -> None:
    await event_bus.publish("order.placed")
    for call in (
        lambda: event_bus.publish_nowait("order.placed"),
        lambda: asyncio.run(_awaiting(event_bus.publish("order.placed"))),
        lambda: asyncio.run(_awaiting(event_bus.publish_and_wait("order.placed"))),
        lambda: asyncio.run(_awaiting(event_bus.shutdown())),
    ):
        with pytest.raises(WrongLoop, match="publish_threadsafe"):
            await from_thread(call)
    assert event_bus.get_stats()["published"] == 1


async def _awaiting(awaitable: Any) -> Any:
    return await awaitable


async def test_open_burst_takes_nothing_from_another_thread(event_bus: InMemoryEventBus) -> None:
    """While a burst is open, publishing is an append: the thread is looked at even then."""
    event = Event("order.placed")
    await event_bus.publish(event)
    with pytest.raises(WrongLoop):
        await from_thread(lambda: event_bus.publish(event).send(None))


async def test_publish_threadsafe_gets_the_receipt_and_wakes_an_idle_loop(event_bus: InMemoryEventBus) -> None:
    heard = Recorder()
    event_bus.subscribe("order.*", heard)
    future = await from_thread(lambda: event_bus.publish_threadsafe("order.placed", {"n": 7}))
    receipt = await asyncio.wrap_future(future)
    assert [outcome.status for outcome in await receipt] == [Status.SUCCEEDED]
    assert heard.values("n") == [7]


async def test_publish_threadsafe_carries_the_refusal_back(event_bus: InMemoryEventBus) -> None:
    event_bus.subscribe(
        "order.*", lambda _event: asyncio.Event().wait(), queue_size=1, overflow=Overflow.REJECT, name="small"
    )
    await event_bus.publish("order.placed")
    future = await from_thread(lambda: event_bus.publish_threadsafe("order.placed"))
    with pytest.raises(QueueFull, match="small"):
        await asyncio.wrap_future(future)


async def test_publish_after_shutdown_is_refused_everywhere(virtual_clock: VirtualClock) -> None:
    bus = InMemoryEventBus(clock=virtual_clock)
    async with bus:
        await bus.publish("order.placed")
    with pytest.raises(BusStopped):
        await bus.publish("order.placed")
    with pytest.raises(BusStopped):
        bus.publish_nowait("order.placed")
    with pytest.raises(BusStopped):
        await asyncio.wrap_future(bus.publish_threadsafe("order.placed"))
    with pytest.raises(BusStopped):
        await bus.run_forever()
    with pytest.raises(BusStopped):
        await bus.connect()


# --- 33: subscribing and unsubscribing meanwhile -------------------------------------------------------------------


async def test_event_goes_to_those_who_listened_when_it_was_accepted(event_bus: InMemoryEventBus) -> None:
    early, late = Recorder(), Recorder()
    event_bus.subscribe("order.placed", early)
    await event_bus.publish("order.placed", {"n": 1})
    event_bus.subscribe("order.placed", late)
    await event_bus.publish("order.placed", {"n": 2})
    assert await event_bus.drain()
    assert early.values("n") == [1, 2]
    assert late.values("n") == [2]


async def test_handlers_may_subscribe_and_cancel_while_events_are_dispatched(event_bus: InMemoryEventBus) -> None:
    heard: list[int] = []

    async def born(event: Event) -> None:
        heard.append(event["n"])

    async def breed(event: Event) -> None:
        event_bus.subscribe("order.placed", born)
        if event["n"] == 2:
            subscription.cancel()

    subscription = event_bus.subscribe("order.placed", breed)
    for n in range(4):
        receipt = await event_bus.publish("order.placed", {"n": n})
        await receipt
    assert event_bus.get_handler_count("order.placed") == 3
    assert heard == [1, 2, 2, 3, 3, 3]


async def test_cancelling_another_in_the_middle_of_a_burst_spares_it_the_rest(event_bus: InMemoryEventBus) -> None:
    heard: list[int] = []

    async def second(event: Event) -> None:
        heard.append(event["n"])

    async def first(event: Event) -> None:
        if event["n"] == 3:
            other.cancel()

    event_bus.subscribe("order.placed", first)
    other = event_bus.subscribe("order.placed", second)
    await event_bus.publish_and_wait("order.placed", {"n": 0})  # both are known not to suspend from here on
    for n in range(1, 6):
        await event_bus.publish("order.placed", {"n": n})
    assert await event_bus.drain()
    assert heard == list(range(len(heard)))
    stats = event_bus.stats()
    assert stats.succeeded + stats.cancelled == 12
    assert stats.pending == 0


# --- 34: cancelled in the middle of a publish -----------------------------------------------------------------------


@pytest.mark.parametrize("full", [False, True], ids=["room", "full"])
@pytest.mark.parametrize("tick", range(12))
async def test_cancelled_publish_reaches_all_or_none(virtual_clock: VirtualClock, tick: int, full: bool) -> None:
    bus = InMemoryEventBus(max_queue_size=1, clock=virtual_clock)
    heard = [Recorder(lambda _event: asyncio.sleep(0)) for _ in range(3)]
    for recorder in heard:
        bus.subscribe("order.*", recorder)
    async with bus:
        if full:
            await bus.publish("order.first")
        task = asyncio.ensure_future(bus.publish("order.second"))
        for _ in range(tick):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert await bus.drain(timeout=5)
        assert len({tuple(recorder.types) for recorder in heard}) == 1
        if not task.cancelled():
            assert heard[0].types[-1] == "order.second"
        assert len(heard[0]) == bus.get_stats()["published"]
        async with asyncio.timeout(1):
            await bus.publish("order.third")  # no place was lost
        assert await bus.drain(timeout=5)


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_places_at_a_full_door_are_neither_lost_nor_doubled(virtual_clock: VirtualClock, size: int) -> None:
    """Many publishers wait, every other one gives up at some moment: the door still holds exactly its size."""
    bus = InMemoryEventBus(max_queue_size=size, clock=virtual_clock)
    most = 0

    async def slow(_event: Event) -> None:
        nonlocal most
        most = max(most, bus.get_stats()["pending"])
        await asyncio.sleep(0.5)

    bus.subscribe("order.*", slow)
    async with bus:
        tasks = [asyncio.ensure_future(bus.publish("order.placed", {"n": n})) for n in range(30)]
        for number, task in enumerate(tasks[1::2]):
            await asyncio.sleep(0.05 * (number % 5))
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await bus.drain(timeout=100)
        accepted = sum(not task.cancelled() for task in tasks)
        assert bus.get_stats()["published"] == accepted >= 15
        assert most <= size
        assert bus.stats().succeeded == accepted


# --- 36: the event is changed by somebody ----------------------------------------------------------------------------


class BasketPriced(Event, type="fault.basket.priced"):
    names: list[str]
    weights: dict[str, float]


async def test_no_handler_changes_what_another_sees(event_bus: InMemoryEventBus) -> None:
    seen: list[dict[str, Any]] = []
    attempts: list[Exception] = []

    async def vandal(event: Event) -> None:
        for change in (
            lambda: event["weights"].update(AAPL=9.0),
            lambda: event["names"].append("X"),
            lambda: setattr(event, "source", "vandal"),
            lambda: event.payload["weights"].update(AAPL=9.0),
        ):
            try:
                change()
            except (AttributeError, TypeError, ValueError) as error:
                attempts.append(error)

    async def look(event: Event) -> None:
        seen.append(event.payload)

    event_bus.subscribe("fault.*", vandal)
    event_bus.subscribe("fault.*", look)
    names, weights = ["AAPL"], {"AAPL": 1.0}
    typed = BasketPriced(names=names, weights=weights)
    ad_hoc = Event("fault.ad.hoc", payload={"names": names, "weights": weights})
    for event in (typed, ad_hoc):
        await event_bus.publish(event)
    names.append("MSFT")
    weights["AAPL"] = 0.0
    assert await event_bus.drain()
    assert seen == [{"names": ["AAPL"], "weights": {"AAPL": 1.0}}] * 2
    assert len(attempts) == 6


# --- 37: poison ----------------------------------------------------------------------------------------------------


async def test_poison_becomes_a_dead_letter_after_its_attempts(event_bus: InMemoryEventBus) -> None:
    calls: list[int] = []

    async def handler(event: Event) -> None:
        calls.append(event["n"])
        if event["n"] == 1:
            raise ValueError("poison")

    event_bus.subscribe("order.placed", handler, name="ledger", retry=Retry(attempts=4, delay=0.5))
    for n in range(3):
        await event_bus.publish("order.placed", {"n": n})
    assert await event_bus.drain()
    assert sorted(calls) == [0, 1, 1, 1, 1, 2]
    (letter,) = event_bus.dead_letters
    assert (letter.subscription, letter.attempts, letter.event["n"]) == ("ledger", 4, 1)
    assert "poison" in letter.error


# --- 38: a payload nobody should be given ----------------------------------------------------------------------------


def test_typed_event_refuses_nan_and_unknown_fields() -> None:
    with pytest.raises(ValueError, match="finite"):
        BasketPriced(names=[], weights={"AAPL": float("nan")})
    with pytest.raises(ValueError, match="surprise"):
        BasketPriced(names=[], weights={}, surprise=1)  # type: ignore[call-arg] # the point


# --- 42: callables of every shape ------------------------------------------------------------------------------------


class Shapes:
    """Handlers as methods and objects."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    async def work(self, _event: Event, label: str = "bound method") -> str:
        await asyncio.sleep(0)
        self.ran.append(label)
        return label

    def sync(self, _event: Event, label: str = "bound sync method") -> str:
        self.ran.append(label)
        return label

    @classmethod
    async def on_class(cls, _event: Event) -> str:
        return "class method"

    @staticmethod
    async def static(_event: Event) -> str:
        return "static method"


class AsyncCallable:
    async def __call__(self, _event: Event) -> str:
        return "async callable"


class SyncCallable:
    def __call__(self, _event: Event) -> Any:
        return AsyncCallable()(_event)


class Awaitable:
    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        return "own awaitable"


async def test_every_shape_of_callable_really_runs(event_bus: InMemoryEventBus) -> None:
    shapes = Shapes()

    handlers: dict[str, Any] = {
        "bound method": shapes.work,
        "partial": partial(shapes.work, label="partial"),
        "partial of partial": partial(partial(shapes.work), label="partial of partial"),
        "bound sync method": shapes.sync,
        "sync partial": partial(shapes.sync, label="sync partial"),
        "class method": Shapes.on_class,
        "static method": Shapes.static,
        "async callable": AsyncCallable(),
        "lambda of coroutine": lambda event: shapes.work(event, "lambda of coroutine"),
        "own awaitable": lambda _event: Awaitable(),
    }
    for name, handler in handlers.items():
        event_bus.subscribe("shape.tried", handler, name=name)
    event_bus.subscribe("shape.tried", SyncCallable(), name="sync callable returning coroutine")
    for _ in range(3):  # the first time, and when each is known
        outcomes = {o.subscription: o for o in await (await event_bus.publish("shape.tried"))}
        assert {name: outcomes[name].result for name in handlers} == {name: name for name in handlers}
        assert outcomes["sync callable returning coroutine"].result == "async callable"


async def test_what_cannot_be_awaited_is_a_plain_result(event_bus: InMemoryEventBus) -> None:
    event_bus.subscribe("shape.tried", lambda _event: [1, 2])
    (outcome,) = await (await event_bus.publish("shape.tried"))
    assert outcome.result == [1, 2]


# --- 43: sinks that fail -----------------------------------------------------------------------------------------


class BrokenHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("disk full")


async def test_logger_that_raises_changes_no_outcome(event_bus: InMemoryEventBus) -> None:
    logger = logging.getLogger("eventbus")
    broken = BrokenHandler()
    logger.addHandler(broken)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    failures = log.failures
    try:

        async def fail(_event: Event) -> None:
            raise ValueError("wrong")

        event_bus.subscribe("order.placed", fail, retry=Retry(attempts=2, delay=0.1), name="retried")
        event_bus.subscribe("order.placed", fail, on_failure="drop", name="dropped")
        healthy = Recorder()
        event_bus.subscribe("order.placed", healthy)
        for _ in range(3):
            outcomes = await (await event_bus.publish("order.placed"))
            assert {o.subscription: o.status for o in outcomes} == {
                "retried": Status.DEAD_LETTERED,
                "dropped": Status.DROPPED,
                "Recorder": Status.SUCCEEDED,
            }
    finally:
        logger.removeHandler(broken)
        logger.setLevel(level)
    assert event_bus.dead_letters.count() == 3
    assert log.failures > failures


# --- CONTROL overtakes whatever waits --------------------------------------------------------------------------------


class Killed(Event, type="fault.killed", kind=Kind.CONTROL):
    """The kill switch."""


async def test_control_event_overtakes_a_backlog(event_bus: InMemoryEventBus) -> None:
    heard: list[str] = []

    async def slow(event: Event) -> None:
        heard.append(event.type)
        await asyncio.sleep(1)

    event_bus.subscribe("*", slow)
    for _ in range(10):
        await event_bus.publish("order.placed")
    await asyncio.sleep(2.5)
    await event_bus.publish(Killed())
    assert await event_bus.drain()
    assert heard.index("fault.killed") == 3
