"""Worker: one outcome for each delivery, whatever the handler, the predicate or the policy comes up with."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventbus import (
    Delivery,
    Event,
    HandlerCancelled,
    InMemoryEventBus,
    Kind,
    OnFailure,
    Overflow,
    PublishTimeout,
    QueueFull,
    Reject,
    Retry,
    RetryLater,
    Status,
)
from eventbus.testing import Recorder, VirtualClock, settle

pytestmark = pytest.mark.virtual_time


class Priced(Event, type="worker.priced", kind=Kind.QUOTE, key="symbol"):
    symbol: str
    price: int


class Decided(Event, type="worker.decided", kind=Kind.SIGNAL, max_age=2.0):
    n: int


class Alarmed(Event, type="worker.alarmed", kind=Kind.CONTROL):
    pass


# --- predicate --------------------------------------------------------------------------------------------------------


async def test_where_lets_through_what_it_wants(event_bus: InMemoryEventBus) -> None:
    heard = Recorder()
    subscription = event_bus.subscribe("a.b", heard, where=lambda event: event["n"] > 1)
    receipts = [await event_bus.publish("a.b", {"n": n}) for n in range(4)]
    outcomes = [await receipt for receipt in receipts]
    assert heard.values("n") == [2, 3]
    assert [len(o) for o in outcomes] == [0, 0, 1, 1]
    assert subscription.stats().accepted == 2


@pytest.mark.parametrize(
    "error", [KeyError("n"), SystemExit(1), asyncio.CancelledError()], ids=lambda e: type(e).__name__
)
async def test_where_that_raises_makes_a_dead_letter(event_bus: InMemoryEventBus, error: BaseException) -> None:
    def broken(_event: Event) -> bool:
        raise error

    neighbour = Recorder()
    event_bus.subscribe("a.b", Recorder(), where=broken, name="broken")
    event_bus.subscribe("a.b", neighbour, name="neighbour")
    for _ in range(2):
        outcomes = {o.subscription: o for o in await (await event_bus.publish("a.b"))}
        assert outcomes["broken"].status is Status.DEAD_LETTERED
        assert outcomes["broken"].error is error
        assert outcomes["neighbour"].status is Status.SUCCEEDED
    assert [letter.reason for letter in event_bus.dead_letters] == ["where= raised"] * 2


@pytest.mark.parametrize("bad", [lambda _e: 1 / 0, lambda _e: [], lambda _e: {"a": 1}], ids=["raises", "list", "dict"])
async def test_key_that_cannot_be_had_makes_a_dead_letter(event_bus: InMemoryEventBus, bad: Any) -> None:
    neighbour = Recorder()
    event_bus.subscribe("a.b", Recorder(), key=bad, name="broken")
    event_bus.subscribe("a.b", neighbour, name="neighbour")
    outcomes = {o.subscription: o for o in await (await event_bus.publish("a.b"))}
    assert outcomes["broken"].status is Status.DEAD_LETTERED
    assert outcomes["neighbour"].status is Status.SUCCEEDED
    assert event_bus.is_running


# --- a queue of its own -------------------------------------------------------------------------------------------------


async def test_publisher_waits_for_a_place_in_the_queue(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock
) -> None:
    slow = Recorder(lambda _event: asyncio.sleep(1))
    event_bus.subscribe("a.b", slow, queue_size=2)
    for n in range(5):
        await event_bus.publish("a.b", {"n": n})
    assert virtual_clock.time() == pytest.approx(3)
    assert await event_bus.drain()
    assert slow.values("n") == list(range(5))


async def test_publish_gives_up_in_time_and_nothing_was_accepted(event_bus: InMemoryEventBus) -> None:
    other = Recorder()
    event_bus.subscribe("a.b", lambda _event: asyncio.Event().wait(), queue_size=1)
    event_bus.subscribe("a.b", other)
    await event_bus.publish("a.b", {"n": 0})
    with pytest.raises(PublishTimeout):
        await event_bus.publish("a.b", {"n": 1}, timeout=0.5)
    await settle()
    assert other.values("n") == [0]


@pytest.mark.event_bus(max_queue_size=1)
@pytest.mark.parametrize("queue_size", [None, 1])
async def test_one_deadline_bounds_a_publish_however_often_others_are_quicker(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock, queue_size: int | None
) -> None:
    event_bus.subscribe("a.b", Recorder(lambda _event: asyncio.sleep(0.4)), queue_size=queue_size)
    others = [asyncio.create_task(event_bus.publish("a.b", {"n": n})) for n in range(6)]
    await settle()
    with pytest.raises(PublishTimeout, match="within 1 s"):
        await event_bus.publish("a.b", {"n": 6}, timeout=1.0)
    assert virtual_clock.time() == pytest.approx(1.0)
    await asyncio.wait(others)
    assert await event_bus.drain()
    assert event_bus.get_stats()["published"] == 6


async def test_reject_refuses_at_once_and_names_the_subscription(event_bus: InMemoryEventBus) -> None:
    event_bus.subscribe(
        "a.b", lambda _event: asyncio.Event().wait(), queue_size=2, overflow=Overflow.REJECT, name="ledger"
    )
    for _ in range(2):
        await event_bus.publish("a.b")
    with pytest.raises(QueueFull, match="ledger"):
        await event_bus.publish("a.b")
    await event_bus.publish("other.type")  # goes to nobody who is full
    assert event_bus.get_stats()["dropped"] == 0


async def test_unwanted_events_free_their_places(event_bus: InMemoryEventBus) -> None:
    """What the predicate refuses needs no place: a publisher that waited for it goes on."""
    heard = Recorder()
    event_bus.subscribe("a.b", heard, queue_size=1, where=lambda event: event["n"] % 2 == 1)
    async with asyncio.timeout(5):
        for n in range(6):
            await event_bus.publish("a.b", {"n": n})
    assert await event_bus.drain()
    assert heard.values("n") == [1, 3, 5]


async def test_cancelled_subscription_keeps_no_publisher_waiting(event_bus: InMemoryEventBus) -> None:
    full = event_bus.subscribe("a.b", lambda _event: asyncio.Event().wait(), queue_size=1)
    await event_bus.publish("a.b")
    waiting = asyncio.create_task(event_bus.publish("a.b"))
    await settle()
    assert not waiting.done()
    full.cancel()
    await settle()
    assert waiting.done()


async def test_control_enters_a_full_queue(event_bus: InMemoryEventBus) -> None:
    heard = Recorder(lambda event: asyncio.sleep(1))
    event_bus.subscribe("*", heard, queue_size=1)
    await event_bus.publish("a.b")
    await settle()
    await event_bus.publish(Alarmed(), timeout=0.1)
    assert await event_bus.drain()
    assert heard.types == ["a.b", "worker.alarmed"]


# --- lossy queues -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("overflow", "served"), [(Overflow.DROP_OLDEST, [0, 4, 5]), (Overflow.DROP_NEWEST, [0, 1, 2])])
async def test_lossy_queue_drops_and_counts(event_bus: InMemoryEventBus, overflow: Overflow, served: list[int]) -> None:
    slow = Recorder(lambda _event: asyncio.sleep(1))
    subscription = event_bus.subscribe("a.b", slow, queue_size=2, overflow=overflow)
    receipts = []
    for n in range(6):
        receipts.append(await event_bus.publish("a.b", {"n": n}))
        await settle()
    statuses = [(await receipt)[0].status for receipt in receipts]
    assert slow.values("n") == served
    assert [n for n, status in enumerate(statuses) if status is Status.SUCCEEDED] == served
    assert statuses.count(Status.DROPPED) == subscription.stats().dropped == 3
    assert event_bus.get_stats()["dropped"] == 3


async def test_lossy_subscription_holds_no_place_at_the_door(virtual_clock: VirtualClock) -> None:
    bus = InMemoryEventBus(max_queue_size=2, clock=virtual_clock)
    bus.subscribe("a.b", lambda _event: asyncio.Event().wait(), queue_size=1, overflow=Overflow.DROP_OLDEST)
    await bus.connect()
    async with asyncio.timeout(1):
        for _ in range(20):
            await bus.publish("a.b")
    await bus.shutdown(timeout=0)


async def test_quotes_are_conflated_per_key_when_behind(event_bus: InMemoryEventBus) -> None:
    slow = Recorder(lambda _event: asyncio.sleep(1))
    subscription = event_bus.subscribe(Priced, slow)
    for price in range(4):
        for symbol in ("A", "B"):
            await event_bus.publish(Priced(symbol=symbol, price=price))
        await settle()
    assert await event_bus.drain()
    assert [(event["symbol"], event["price"]) for event in slow] == [("A", 0), ("B", 3), ("A", 3)]
    stats = subscription.stats()
    assert (stats.conflated, stats.gaps, stats.dropped, stats.succeeded) == (5, 2, 5, 3)


# --- age ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["async", "task", "sync"])
async def test_signal_that_waited_too_long_expires(
    event_bus: InMemoryEventBus, shape: str, virtual_clock: VirtualClock
) -> None:
    """Each attempt takes 0.9 s: the third starts at 1.8 s, the fourth would at 2.7 s."""
    ran: list[int] = []
    pool: Any = event_bus._pool

    async def slow(event: Decided) -> None:
        ran.append(event.n)
        await asyncio.sleep(0.9)

    def slow_sync(event: Decided) -> None:
        ran.append(event.n)
        pool.sleep(0.9)

    subscription = event_bus.subscribe(
        Decided, slow_sync if shape == "sync" else slow, isolation="task" if shape == "task" else "auto"
    )
    receipts = [await event_bus.publish(Decided(n=n)) for n in range(5)]
    statuses = [(await receipt)[0].status for receipt in receipts]
    assert ran == [0, 1, 2]
    assert statuses == [Status.SUCCEEDED] * 3 + [Status.EXPIRED] * 2
    assert subscription.stats().expired == 2


async def test_age_may_stand_on_the_subscription(event_bus: InMemoryEventBus) -> None:
    slow = Recorder(lambda _event: asyncio.sleep(3))
    event_bus.subscribe("a.b", slow, max_age=1.0)
    receipts = [await event_bus.publish("a.b") for _ in range(2)]
    assert [(await receipt)[0].status for receipt in receipts] == [Status.SUCCEEDED, Status.EXPIRED]


async def test_wall_clock_makes_nothing_older(event_bus: InMemoryEventBus, virtual_clock: VirtualClock) -> None:
    heard = Recorder()
    subscription = event_bus.subscribe(Decided, heard)
    subscription.pause()
    await event_bus.publish(Decided(n=1))
    virtual_clock.jump_wall(86_400)
    subscription.resume()
    assert await event_bus.drain()
    assert heard.values("n") == [1]


# --- retries --------------------------------------------------------------------------------------------------------------


async def test_retries_wait_longer_each_time(event_bus: InMemoryEventBus, virtual_clock: VirtualClock) -> None:
    at: list[float] = []

    async def fail(_event: Event) -> None:
        at.append(virtual_clock.time())
        raise OSError("down")

    event_bus.subscribe("a.b", fail, retry=Retry(attempts=4, delay=1, factor=2, jitter=False, max_delay=3))
    (outcome,) = await (await event_bus.publish("a.b"))
    assert at == pytest.approx([0, 1, 3, 6])
    assert (outcome.status, outcome.attempts) == (Status.DEAD_LETTERED, 4)


async def test_retry_ignores_the_wall_clock(event_bus: InMemoryEventBus, virtual_clock: VirtualClock) -> None:
    at: list[float] = []

    async def fail(_event: Event) -> None:
        at.append(virtual_clock.time())
        virtual_clock.jump_wall(-3600 if len(at) % 2 else 86_400)
        raise OSError("down")

    event_bus.subscribe("a.b", fail, retry=Retry(attempts=3, delay=1, factor=1, jitter=False))
    await (await event_bus.publish("a.b"))
    assert at == pytest.approx([0, 1, 2])


async def test_retry_later_waits_as_long_as_it_asks(event_bus: InMemoryEventBus, virtual_clock: VirtualClock) -> None:
    at: list[float] = []

    async def later(_event: Event) -> str:
        at.append(virtual_clock.time())
        if len(at) < 3:
            raise RetryLater(after=7)
        return "done"

    event_bus.subscribe("a.b", later)
    (outcome,) = await (await event_bus.publish("a.b"))
    assert at == pytest.approx([0, 7, 14])
    assert (outcome.status, outcome.result, outcome.attempts) == (Status.SUCCEEDED, "done", 3)


async def test_reject_makes_a_dead_letter_without_another_attempt(event_bus: InMemoryEventBus) -> None:
    refuse = Recorder(lambda _event: _raise(Reject("unknown desk")))
    event_bus.subscribe("a.b", refuse, retry=Retry(attempts=5))
    (outcome,) = await (await event_bus.publish("a.b"))
    assert (outcome.status, outcome.attempts) == (Status.DEAD_LETTERED, 1)
    (letter,) = event_bus.dead_letters
    assert letter.reason == "rejected: unknown desk"


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("shape", ["stepped", "task", "concurrent", "sync"])
async def test_retrying_event_blocks_its_key(event_bus: InMemoryEventBus, shape: str) -> None:
    order: list[tuple[str, int]] = []
    failed: set[int] = set()

    def work(event: Event) -> None:
        order.append((event["key"], event["n"]))
        if event["n"] in (1, 3) and event["n"] not in failed:
            failed.add(event["n"])
            raise OSError("once")

    async def work_async(event: Event) -> None:
        work(event)

    event_bus.subscribe(
        "a.b",
        work if shape == "sync" else work_async,
        key="key",
        concurrency=3 if shape == "concurrent" else 1,
        isolation="task" if shape == "task" else "auto",
        retry=Retry(attempts=2, delay=1, jitter=False),
    )
    for n, key in enumerate("abaabb"):
        await event_bus.publish("a.b", {"n": n, "key": key})
    assert await event_bus.drain()
    assert [n for key, n in order if key == "a"] == [0, 2, 3, 3]
    assert [n for key, n in order if key == "b"] == [1, 1, 4, 5]


async def test_out_of_order_retry_lets_its_key_go_on(event_bus: InMemoryEventBus) -> None:
    order: list[int] = []

    async def work(event: Event) -> None:
        order.append(event["n"])
        if order.count(0) < 2 and event["n"] == 0:
            raise OSError("once")

    retry = Retry(attempts=2, delay=1, jitter=False, out_of_order=True)
    event_bus.subscribe("a.b", work, key=lambda _event: "same", retry=retry)
    for n in range(3):
        await event_bus.publish("a.b", {"n": n})
    assert await event_bus.drain()
    assert order == [0, 1, 2, 0]


async def test_cancelling_ends_retries(event_bus: InMemoryEventBus) -> None:
    fail = Recorder(lambda _event: _raise(OSError("down")))
    subscription = event_bus.subscribe("a.b", fail, retry=Retry(attempts=9, delay=5, jitter=False))
    receipt = await event_bus.publish("a.b")
    await settle()
    assert subscription.stats().retry_wait == 1
    subscription.cancel()
    assert [outcome.status for outcome in await receipt] == [Status.CANCELLED]
    await asyncio.sleep(100)
    assert len(fail) == 1


# --- what a handler is given ------------------------------------------------------------------------------------------------


async def test_handler_of_two_gets_the_delivery(event_bus: InMemoryEventBus, virtual_clock: VirtualClock) -> None:
    seen: list[tuple[str, int, float | None]] = []

    async def handler(event: Event, delivery: Delivery) -> None:
        assert delivery.event is event
        seen.append((delivery.subscription, delivery.attempt, delivery.deadline))
        if delivery.attempt == 1:
            raise OSError("once")

    event_bus.subscribe("a.b", handler, name="ledger", timeout=3.0, retry=Retry(attempts=2, delay=1, jitter=False))
    await (await event_bus.publish("a.b"))
    assert [(name, attempt) for name, attempt, _deadline in seen] == [("ledger", 1), ("ledger", 2)]
    assert [deadline for _name, _attempt, deadline in seen] == pytest.approx([3.0, 4.0])


async def test_optional_second_parameter_is_left_alone(event_bus: InMemoryEventBus) -> None:
    async def handler(event: Event, times: int = 2) -> int:
        return int(event["n"]) * times

    event_bus.subscribe("a.b", handler)
    (outcome,) = await (await event_bus.publish("a.b", {"n": 4}))
    assert outcome.result == 8


async def test_reply_is_the_result_unless_something_is_returned(event_bus: InMemoryEventBus) -> None:
    async def replies(_event: Event, delivery: Delivery) -> None:
        delivery.reply("reply")

    event_bus.subscribe("a.b", replies)
    (outcome,) = await (await event_bus.publish("a.b"))
    assert outcome.result == "reply"


# --- giving up ----------------------------------------------------------------------------------------------------------------


async def test_halt_on_failure_halts_the_bus(event_bus: InMemoryEventBus) -> None:
    event_bus.subscribe(
        "a.b", lambda _event: _raise(ValueError("book is off")), on_failure=OnFailure.HALT, name="ledger"
    )
    (outcome,) = await (await event_bus.publish("a.b"))
    assert outcome.status is Status.DEAD_LETTERED
    assert event_bus.is_halted
    assert "ledger" in str(event_bus.halt_reason)


async def test_cancelled_error_of_a_handler_may_be_retried(event_bus: InMemoryEventBus) -> None:
    calls = Recorder(lambda _event: _raise(asyncio.CancelledError()))
    event_bus.subscribe("a.b", calls, retry=Retry(attempts=3, delay=0.1))
    (outcome,) = await (await event_bus.publish("a.b"))
    assert isinstance(outcome.error, HandlerCancelled)
    assert len(calls) == 3
