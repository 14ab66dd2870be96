"""The promised face of the bus, sentence by sentence, as somebody who only read the contract would use it."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from eventbus import (
    BusNotRunning,
    BusStopped,
    Delivery,
    Event,
    Halted,
    InMemoryEventBus,
    Kind,
    OnFailure,
    Overflow,
    PolicyConflict,
    RetryLater,
)
from eventbus.road import threads
from eventbus.testing import settle


class Noted(Event, type="contract.noted"):
    n: int = 0


class Kept(Event, type="contract.kept", retain=True, key="name"):
    name: str


class Stopped(Event, type="contract.stopped", kind=Kind.CONTROL):
    """The kill switch."""


class Filled(Event, type="contract.filled", kind=Kind.EXECUTION, key="order"):
    order: str


class Quoted(Event, type="contract.quoted", kind=Kind.QUOTE, key="book"):
    book: dict[str, Any]


async def ignore(_event: Event) -> None:
    """A handler for whom everything is well."""


# --- events and policies -------------------------------------------------------------------------------------------


def test_a_typed_event_says_which_names_it_has_like_an_ad_hoc_one() -> None:
    assert "n" in Noted()
    assert "m" not in Noted()
    assert "n" in Event("contract.made", payload={"n": 1})


def test_a_policy_may_be_given_as_a_word() -> None:
    policy = InMemoryEventBus().subscribe(Noted, ignore, overflow="drop_oldest", queue_size=2, on_failure="drop").policy
    assert policy.overflow is Overflow.DROP_OLDEST
    assert policy.on_failure is OnFailure.DROP


@pytest.mark.parametrize(
    "wrong",
    [
        {"overflow": "drop_some", "queue_size": 2},
        {"on_failure": "shrug"},
        {"retry": 3},
        {"where": "n > 1"},
        {"key": 5},
        {"timeout": "2"},
    ],
)
def test_a_policy_of_no_use_is_refused_by_name_when_subscribing(wrong: dict[str, Any]) -> None:
    with pytest.raises(PolicyConflict, match=next(iter(wrong))):
        InMemoryEventBus().subscribe(Noted, ignore, **wrong)


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("broken", [lambda event: event.nope, lambda event: [event.n]])
async def test_a_key_that_cannot_be_had_makes_a_dead_letter_where_it_matters(broken: Any, concurrency: int) -> None:
    bus, seen = InMemoryEventBus(), list[int]()

    async def busy_once(event: Noted, delivery: Delivery) -> None:
        if event.n == 0 and delivery.attempt == 1:
            raise RetryLater(after=0.01)

    bus.subscribe(
        Noted,
        busy_once,
        key=lambda event: event.n if event.n == 0 else broken(event),
        concurrency=concurrency,
        name="keyed",
    )
    bus.subscribe(Noted, lambda event: seen.append(event.n))
    async with bus:
        for n in range(3):
            await bus.publish(Noted(n=n))
        assert await bus.drain(timeout=60)
    assert seen == [0, 1, 2]
    assert [(letter.subscription, letter.reason) for letter in bus.dead_letters] == [("keyed", "key= raised")] * 2


class Unhashable:
    """As a list is, but nobody freezes it."""

    __hash__ = None  # type: ignore[assignment] # on purpose


async def test_a_quote_whose_key_cannot_be_hashed_is_a_dead_letter() -> None:
    bus = InMemoryEventBus()
    subscription = bus.subscribe(Quoted, ignore)
    subscription.pause()  # behind: now values replace each other by their keys
    async with bus:
        await bus.publish(Quoted(book={"bid": Unhashable()}))
        await settle()
        subscription.resume()
        assert await bus.drain(timeout=60)
    assert bus.dead_letters.count() == 1


# --- the door ------------------------------------------------------------------------------------------------------


async def test_a_publisher_that_gives_up_waiting_for_a_queue_leaves_nothing_behind() -> None:
    bus, go = InMemoryEventBus(), asyncio.Event()

    async def hold(_event: Event) -> None:
        await go.wait()

    subscription = bus.subscribe(Noted, hold, queue_size=1)
    async with bus:
        await bus.publish(Noted())
        waiting = asyncio.create_task(bus.publish(Noted()))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert subscription.worker.gate is not None
        assert not subscription.worker.gate._waiting
        go.set()


async def test_a_publisher_does_not_wait_for_the_queue_of_a_cancelled_subscription() -> None:
    bus, began, go = InMemoryEventBus(), asyncio.Event(), asyncio.Event()

    async def hold(_event: Event) -> None:
        began.set()
        await go.wait()

    subscription = bus.subscribe(Noted, hold, queue_size=1)
    async with bus:
        await bus.publish(Noted())
        waiting = asyncio.create_task(bus.publish(Noted()))
        await began.wait()
        subscription.cancel()
        done, _ = await asyncio.wait([waiting], timeout=60)
        go.set()
    assert done


async def test_a_refused_publisher_gives_its_place_to_the_next() -> None:
    bus, go = InMemoryEventBus(max_queue_size=1), asyncio.Event()

    async def hold(_event: Event) -> None:
        await go.wait()

    bus.subscribe(Noted, hold)
    async with bus:
        await bus.publish(Noted(n=1))
        refused = asyncio.create_task(bus.publish(Filled(order="1")))
        await asyncio.sleep(0)
        next_one = asyncio.create_task(bus.publish(Noted(n=2)))
        await asyncio.sleep(0)
        bus.halt("drawdown")
        go.set()
        with pytest.raises(Halted):
            await refused
        done, _ = await asyncio.wait([next_one], timeout=60)
        next_one.cancel()
    assert done


def test_places_are_given_back_by_plain_code_while_the_loop_does_not_run() -> None:
    bus = InMemoryEventBus(max_queue_size=8)
    runner = asyncio.Runner()

    async def fill() -> asyncio.Task[object]:
        await bus.connect()
        await bus.publish_many([Noted(n=n) for n in range(7)])
        await bus.publish(Filled(order="1"))
        return asyncio.create_task(bus.publish(Noted(n=8)))

    async def end(waiting: asyncio.Task[object]) -> None:
        async with asyncio.timeout(60):
            await waiting
        await bus.shutdown()

    with runner:
        bus.subscribe(Noted, ignore).pause()
        one = bus.subscribe(Filled, ignore)
        one.pause()
        waiting = runner.run(fill())
        runner.run(asyncio.sleep(0.01))
        one.cancel()
        bus.clear_handlers(Noted)
        runner.run(end(waiting))


@pytest.mark.parametrize("kinds", [("noted",), ("noted", "filled"), ("stopped",)], ids="-".join)
async def test_an_event_that_waits_takes_little_memory_whatever_kinds_take_turns(kinds: tuple[str, ...]) -> None:
    bus, size = InMemoryEventBus(history=1), 1_000
    make: dict[str, Callable[[], Event]] = {
        "noted": lambda: Noted(n=1),
        "filled": lambda: Filled(order="1"),
        "stopped": Stopped,
    }
    events = [make[kinds[n % len(kinds)]]() for n in range(size)]
    tracemalloc.start()
    try:
        before, _peak = tracemalloc.get_traced_memory()
        for n, event in enumerate(events):
            if n % 2:
                bus.publish_nowait(event)
            else:
                await bus.publish(event)
        after, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bus.get_stats()["pending"] == size
    assert (after - before) / size < 64


async def test_what_a_halt_refuses_does_not_slip_in_beside_other_events() -> None:
    bus = InMemoryEventBus()
    filled: list[Event] = []

    async def fill(event: Event) -> None:
        filled.append(event)

    bus.subscribe(Filled, fill)
    async with bus:
        await bus.publish(Filled(order="1"))
        await bus.publish(Noted(n=1))
        token = bus.halt("drawdown")
        for n in range(2, 4):
            await bus.publish(Noted(n=n))
            with pytest.raises(Halted):
                await bus.publish(Filled(order=str(n)))
        await bus.rearm(token)
        await bus.publish(Noted(n=4))
        await bus.publish(Filled(order="4"))
        await bus.drain()
    assert [event["order"] for event in filled] == ["1", "4"]


async def test_control_does_not_wait_for_the_full_queue_of_one_subscription() -> None:
    bus, go = InMemoryEventBus(), asyncio.Event()
    order: list[str] = []

    async def slow(event: Event) -> None:
        order.append(event.type)
        await go.wait()

    bus.subscribe("contract.*", slow, queue_size=2)
    async with bus:
        await bus.publish(Noted())
        await bus.publish(Noted())
        await settle()
        done, _ = await asyncio.wait([waiting := asyncio.create_task(bus.publish(Stopped()))], timeout=60)
        waiting.cancel()
        go.set()
    assert done
    assert order == ["contract.noted", "contract.stopped", "contract.noted"]


# --- retained events and expectations ------------------------------------------------------------------------------


async def test_the_last_event_is_the_one_published_last_whenever_it_was_made() -> None:
    bus = InMemoryEventBus()
    early, late = Kept(name="early"), Kept(name="late")
    await bus.publish(late)
    await bus.publish(early)
    assert bus.last(Kept) is early
    assert bus.last(Event) is None


async def test_a_replayed_last_event_passes_the_predicate_first() -> None:
    bus, seen = InMemoryEventBus(), list[str]()
    for name in ("a", "b", "broken"):
        await bus.publish(Kept(name=name))
    bus.subscribe(
        Kept,
        lambda event: seen.append(event.name),
        where=lambda event: {"a": False, "b": True}[event.name],
        replay_last=True,
    )
    async with bus:
        await bus.drain()
    assert seen == ["b"]
    assert [letter.reason for letter in bus.dead_letters] == ["where= raised"]


async def test_an_expectation_cancelled_before_its_first_step_leaves_no_subscription() -> None:
    async with InMemoryEventBus() as bus:
        waiting = asyncio.create_task(bus.expect(Noted))
        waiting.cancel()
        await asyncio.wait([waiting])
        bus.expect(Noted).close()
        assert bus.get_handler_count() == 0


# --- ends ----------------------------------------------------------------------------------------------------------


async def test_whoever_waits_for_what_is_left_at_the_end_is_told() -> None:
    bus, began = InMemoryEventBus(grace=0.01), asyncio.Event()

    async def hang(_event: Event) -> None:
        began.set()
        await asyncio.Event().wait()

    bus.subscribe(Noted, hang)
    bus.subscribe(Filled, hang, queue_size=1)
    await bus.connect()
    queued = [await bus.publish(Noted()) for _ in range(2)][1]
    await bus.publish(Filled(order="1"))

    async def settled() -> object:
        return await queued

    calls = [
        settled(),
        bus.publish_and_wait(Noted()),
        bus.request(Noted()),
        bus.expect(Kept),
        bus.publish(Filled(order="2")),
        bus.drain(),
    ]
    waiting = [asyncio.create_task(call) for call in calls]
    await began.wait()
    await bus.shutdown(timeout=0.01)
    done, _ = await asyncio.wait(waiting, timeout=60)
    assert len(done) == len(waiting)
    assert [type(task.exception()) for task in waiting] == [BusStopped] * 5 + [BusNotRunning]


async def test_shutdown_does_not_wait_for_a_bus_that_a_handler_stopped() -> None:
    bus = InMemoryEventBus()

    async def stop(_event: Event) -> None:
        await asyncio.sleep(0)
        bus.stop()

    bus.subscribe(Noted, stop)
    await bus.connect()
    for _ in range(3):
        await bus.publish(Noted())
    await settle()
    done, _ = await asyncio.wait([ending := asyncio.create_task(bus.shutdown(timeout=None))], timeout=60)
    assert done
    assert not ending.result().drained  # what the handler before the stop left is drained, until it stops the bus again
    assert ending.result().left == 1


async def test_stop_reaches_a_run_that_has_not_made_its_first_step() -> None:
    bus = InMemoryEventBus()
    run = asyncio.create_task(bus.run_forever())
    bus.stop()
    done, _ = await asyncio.wait([run], timeout=60)
    assert done


async def test_stop_before_there_is_a_run_does_not_end_a_later_one() -> None:
    bus = InMemoryEventBus()
    bus.stop()
    run = asyncio.create_task(bus.run_forever())
    await asyncio.sleep(0)
    assert bus.is_running
    bus.stop()
    await run


async def test_connect_and_run_forever_go_together_in_either_order() -> None:
    bus = await InMemoryEventBus().connect()
    run = asyncio.create_task(bus.run_forever())
    await asyncio.sleep(0)
    assert not run.done()
    await bus.close()
    await run

    other = InMemoryEventBus()
    run = asyncio.create_task(other.run_forever())
    async with other:
        assert await other.publish_and_wait(Noted()) == []
    await run


# --- what was taken and has not started ----------------------------------------------------------------------------


class Desk:
    """A handler that holds at n == 0 until `go`, as an async or a sync function."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.began, self.go = asyncio.Event(), asyncio.Event()
        self.began_in_thread, self.go_in_thread = threading.Event(), threading.Event()

    async def on_async(self, event: Event) -> None:
        self.order.append(f"{event.type} {event.get('n')}")
        await asyncio.sleep(0)
        if event.get("n") == 0:
            self.began.set()
            await self.go.wait()

    def on_sync(self, event: Event) -> None:
        self.order.append(f"{event.type} {event.get('n')}")
        if event.get("n") == 0:
            self.began_in_thread.set()
            self.go_in_thread.wait(60)

    async def has_begun(self, *, is_sync: bool) -> None:
        if is_sync:
            await asyncio.to_thread(self.began_in_thread.wait, 60)
        else:
            await self.began.wait()

    def release(self) -> None:
        self.go.set()
        self.go_in_thread.set()


@pytest.mark.parametrize("warm", [0, 3, 300])
@pytest.mark.parametrize("is_sync", [False, True])
async def test_control_overtakes_what_was_taken_in_a_batch_and_has_not_started(is_sync: bool, warm: int) -> None:
    bus, desk = InMemoryEventBus(), Desk()
    bus.subscribe("contract.*", desk.on_sync if is_sync else desk.on_async)
    async with bus:
        for _ in range(2):
            await bus.publish_many(Noted(n=100) for _ in range(warm))
            await bus.drain()
        desk.order.clear()
        await bus.publish_many(Noted(n=n) for n in range(5))
        await desk.has_begun(is_sync=is_sync)
        await bus.publish(Noted(n=5))
        await bus.publish(Stopped())
        while bus.get_stats()["queue_size"]:  # noqa: ASYNC110 - what is dispatched is seen nowhere else
            await asyncio.sleep(0)
        desk.release()
        await bus.drain()
    rest = [f"contract.noted {n}" for n in range(6)]
    assert desk.order == [rest[0], "contract.stopped None", *rest[1:]]


@pytest.mark.parametrize("warm", [0, 3])
@pytest.mark.parametrize("is_sync", [False, True])
async def test_an_awaited_cancel_waits_for_an_attempt_that_runs_in_a_batch(is_sync: bool, warm: int) -> None:
    bus, desk = InMemoryEventBus(), Desk()
    subscription = bus.subscribe(Noted, desk.on_sync if is_sync else desk.on_async)
    async with bus:
        for n in range(warm):
            await bus.publish(Noted(n=100 + n))
            await bus.drain()
        await bus.publish_many(first := [Noted(n=n) for n in range(5)])
        await desk.has_begun(is_sync=is_sync)
        assert await subscription.cancel(grace=0) == (first[0].event_id,)
        ending = subscription.cancel(grace=60)
        desk.release()
        assert await ending == ()
        assert await bus.drain(timeout=60)
    assert len(desk.order) == warm + 1
    stats = subscription.stats()
    assert (stats.succeeded, stats.cancelled, stats.pending) == (warm + 1, 4, 0)


async def test_a_batch_that_has_not_begun_does_not_run_after_cancel() -> None:
    bus, desk = InMemoryEventBus(), Desk()
    subscription = bus.subscribe(Noted, desk.on_async)
    async with bus:
        await bus.publish_and_wait(Noted(n=100))
        for _ in range(10):
            await bus.publish_many([Noted(n=1), Noted(n=2)])
            while not subscription.stats().queued and bus.get_stats()["pending"]:  # noqa: ASYNC110 - by turns, not by time
                await asyncio.sleep(0)
            if subscription.stats().queued:
                break
        subscription.cancel()
        begun = len(desk.order)
        await bus.drain()
    assert len(desk.order) == begun


async def test_a_hung_attempt_of_a_batch_is_named_in_the_report() -> None:
    bus, desk = InMemoryEventBus(grace=0.01), Desk()
    bus.subscribe(Noted, desk.on_async, name="hung")
    await bus.connect()
    await bus.publish_and_wait(Noted(n=100))
    await bus.publish_many(events := [Noted(n=n) for n in range(3)])
    await desk.has_begun(is_sync=False)
    report = await bus.shutdown(timeout=0)
    assert report.abandoned == (f"hung: {events[0]}",)


async def test_concurrent_sync_attempts_run_side_by_side_however_few_they_are() -> None:
    bus, both = InMemoryEventBus(), threading.Barrier(2)
    bus.subscribe(Noted, lambda _event: both.wait(60), concurrency=2)
    async with bus:
        await bus.publish_many([Noted(n=1), Noted(n=2)])
        await bus.drain()
    assert list(bus.dead_letters) == []


async def test_a_sync_attempt_that_ended_leaves_no_timer() -> None:
    bus, loop = InMemoryEventBus(), asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    call_later = loop.call_later

    def noting(delay: float, *arguments: Any, **context: Any) -> asyncio.TimerHandle:
        timers.append(timer := call_later(delay, *arguments, **context))
        return timer

    bus.subscribe(Noted, lambda _event: None, timeout=60)
    async with bus:
        try:
            loop.call_later = noting  # type: ignore[method-assign,assignment] # the loop of a test, watched
        except AttributeError:
            pytest.skip("the methods of this loop cannot be replaced")
        await bus.publish(Noted())
        await bus.drain()
        del loop.call_later
    assert timers
    assert all(timer.cancelled() or timer.when() <= loop.time() for timer in timers)


async def test_ad_hoc_events_in_a_row_wait_for_the_queue_of_a_subscription_too(event_bus: InMemoryEventBus) -> None:
    """They are of one class and of several types: what holds for the first of a row need not hold for the next."""
    opened = asyncio.Event()

    async def waits(_event: Event) -> None:
        await opened.wait()

    async def passes(_event: Event) -> None:
        """Nothing to do."""

    event_bus.subscribe("gated.order", waits, queue_size=1)
    event_bus.subscribe("gated.other", passes)
    published: list[int] = []

    async def publish() -> None:
        await event_bus.publish(Event("gated.other"))
        for n in range(3):
            await event_bus.publish(Event("gated.order"))
            published.append(n)

    publisher = asyncio.create_task(publish())
    await settle()
    assert published == [0]
    opened.set()
    await publisher


@pytest.mark.event_bus(max_queue_size=4)
async def test_an_event_that_goes_to_nobody_gives_its_place_back_beside_one_that_is_handled(
    event_bus: InMemoryEventBus,
) -> None:
    async def pauses(_event: Event) -> None:
        await asyncio.sleep(0)

    event_bus.subscribe("place.handled", pauses)
    await event_bus.publish_and_wait("place.handled")
    for _ in range(8):  # twice as many as there are places
        await event_bus.publish(Event("place.unheard"))
        await event_bus.publish(Event("place.handled"))
        assert await event_bus.drain()


# --- no thread to be had -------------------------------------------------------------------------------------------


async def test_sync_handlers_run_once_the_system_gives_a_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refusals, start = 3, threading.Thread.start

    def refuse_some(thread: threading.Thread) -> None:
        nonlocal refusals
        if thread.name.startswith("scarce") and refusals:
            refusals -= 1
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_some)
    monkeypatch.setattr(threads, "_STUCK_S", 0.01)
    async with InMemoryEventBus(name="scarce") as bus:
        bus.subscribe("job.*", lambda event: event["n"])
        outcomes = [(await (await bus.publish("job.asked", {"n": n})))[0] for n in range(3)]
    assert [outcome.result for outcome in outcomes] == [0, 1, 2]
    assert refusals == 0
    assert "no thread for a sync handler" in caplog.text
