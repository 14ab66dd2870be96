"""Traps that asyncio sets for a bus: whatever one handler does, only its own delivery is affected.

Each misdeed is tried in every way in which a handler can be run, with events of the same and of another subscription behind it.
"""

from __future__ import annotations

import asyncio
import decimal
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from eventbus import Event, HandlerCancelled, HandlerTimeout, InMemoryEventBus, OnFailure, Outcome, Receipt, Status
from eventbus.testing import Recorder, VirtualLoop, settle

pytestmark = pytest.mark.virtual_time(only=False)

TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")
Handler = Callable[[Event], Awaitable[Any]]


FOLLOWERS = 3  # events behind the one that springs the trap


class TrapSprung(Event, type="trap.sprung"):
    """Event 0 warms up, event 1 is the trap, the others follow."""

    n: int
    behave: bool = True


WAYS = ["first", "stepped", "runner", "alone", "task", "concurrent", "thread"]


class Victim:
    """A subscription run in one of the ways, between two neighbours."""

    def __init__(self, bus: InMemoryEventBus, way: str, second: float = 1.0) -> None:
        self.bus = bus
        self.way = way
        self.second = second
        self.glance: Callable[[], None] | None = None  # every handler casts one
        self.before = Recorder(self.look)
        self.after = Recorder(self.look)
        self.misdeed: Handler

    async def start(self, misdeed: Handler, **policy: Any) -> None:
        self.misdeed = misdeed
        handler: Callable[[TrapSprung], Any] = self.handle
        match self.way:
            case "task":
                policy["isolation"] = "task"
            case "concurrent":
                policy["concurrency"] = 2
            case "thread":
                handler = self.handle_from_thread
        if self.way != "alone":
            self.bus.subscribe(TrapSprung, self.before, name="before")
        self.subscription = self.bus.subscribe(TrapSprung, handler, name="victim", **policy)
        if self.way != "alone":
            self.bus.subscribe(TrapSprung, self.after, name="after")
        if self.way != "first":
            await self.bus.publish_and_wait(TrapSprung(n=0))

    async def handle(self, event: TrapSprung) -> str:
        if self.way in ("runner", "alone") and event.n == 0:
            await asyncio.sleep(0)
        self.look(event)
        if not event.behave:
            await self.misdeed(event)
        return "served"

    def handle_from_thread(self, event: TrapSprung) -> Awaitable[str]:
        return self.handle(event)

    def look(self, _event: Event) -> None:
        if self.glance is not None:
            self.glance()

    async def spring(self, manner: str = "together") -> Outcome:
        """Publish the trap and what follows; returns how the trap ended, after checking that nobody else noticed.

        With "unwatched" nobody holds a receipt: then batches are settled as a whole, and the outcome is told by the counts.
        """
        counted = self.subscription.stats()
        receipts: list[Receipt] = []
        for n in range(1, 2 + FOLLOWERS):
            receipt = await self.bus.publish(TrapSprung(n=n, behave=n > 1))
            if manner != "unwatched":
                receipts.append(receipt)
            del receipt
            if manner == "apart" and n == 1:
                await settle()
        async with asyncio.timeout(3600):
            assert await self.bus.drain()
            # Another round, long after: a trap that was left armed has gone off by then.
            await asyncio.sleep(60 * self.second)
            receipts.append(await self.bus.publish(TrapSprung(n=9)))
            outcomes = [{o.subscription: o for o in await receipt} for receipt in receipts]
        names = ["victim"] if self.way == "alone" else ["before", "victim", "after"]
        for ended in outcomes[1:]:
            assert {name: o.status for name, o in ended.items()} == dict.fromkeys(names, Status.SUCCEEDED)
            assert ended["victim"].result == "served"
        everything = [*range(1, 2 + FOLLOWERS), 9]
        if self.way != "alone":
            assert self.before.values("n")[-len(everything) :] == everything
            assert self.after.values("n")[-len(everything) :] == everything
        stats = self.subscription.stats()
        assert stats.pending == stats.queued == stats.in_flight == stats.retry_wait == 0
        succeeded = stats.succeeded - counted.succeeded
        assert stats.accepted - counted.accepted == len(everything)
        assert self.bus.is_running
        if manner == "unwatched":
            status = Status.SUCCEEDED if succeeded == len(everything) else Status.DEAD_LETTERED
            return Outcome("victim", status)
        assert {outcome.status for name, outcome in outcomes[0].items() if name != "victim"} <= {Status.SUCCEEDED}
        assert succeeded == len(everything) - (outcomes[0]["victim"].status is not Status.SUCCEEDED)
        return outcomes[0]["victim"]


@pytest.fixture
async def second() -> float:
    """In real time a second is 50 microseconds: what must not happen must not happen at any speed."""
    return 1.0 if isinstance(asyncio.get_running_loop(), VirtualLoop) else 0.00005


@pytest.fixture(params=WAYS)
def victim(request: pytest.FixtureRequest, event_bus: InMemoryEventBus, second: float) -> Victim:
    return Victim(event_bus, request.param, second)


@pytest.fixture(params=["together", "apart", "unwatched"])
def manner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class OwnBaseException(BaseException):
    """Somebody's idea of an exception that nobody may catch."""


class Unprintable(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no text for you")


RAISED: list[BaseException] = [
    ValueError("wrong"),
    ExceptionGroup("many", [ValueError("one"), OSError("two")]),
    BaseExceptionGroup("worse", [KeyboardInterrupt(), SystemExit(3)]),
    Unprintable(),
    asyncio.CancelledError("mine"),
    SystemExit(1),
    KeyboardInterrupt(),
    GeneratorExit(),
    StopAsyncIteration(),
    TimeoutError("mine"),
    OwnBaseException(),
]


@pytest.mark.virtual_time
@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("suspends", [False, True], ids=["at-once", "after-a-turn"])
async def test_whatever_is_raised_is_the_outcome_of_its_own_delivery(
    victim: Victim, error: BaseException, suspends: bool, manner: str, second: float
) -> None:
    async def misdeed(_event: Event) -> None:
        if suspends:
            await asyncio.sleep(0.01 * second)
        raise error

    await victim.start(misdeed)
    outcome = await victim.spring(manner)
    assert outcome.status is Status.DEAD_LETTERED
    assert manner == "unwatched" or outcome.error is not None
    (letter,) = victim.bus.dead_letters
    assert (letter.subscription, letter.event["n"], letter.attempts) == ("victim", 1, 1)
    assert letter.error


@pytest.mark.parametrize("error", [StopIteration("sync"), StopAsyncIteration()], ids=lambda error: type(error).__name__)
async def test_stop_iteration_in_a_thread_fails_at_once(event_bus: InMemoryEventBus, error: BaseException) -> None:
    def handler(event: TrapSprung) -> None:
        if not event.behave:
            raise error

    event_bus.subscribe(TrapSprung, handler)
    outcomes = [await (await event_bus.publish(TrapSprung(n=n, behave=n != 1))) for n in range(3)]
    assert [o[0].status for o in outcomes] == [Status.SUCCEEDED, Status.DEAD_LETTERED, Status.SUCCEEDED]
    assert outcomes[1][0].error is error


async def test_cancelled_error_is_a_failure_and_says_whose(victim: Victim) -> None:
    async def misdeed(_event: Event) -> None:
        raise asyncio.CancelledError

    await victim.start(misdeed)
    outcome = await victim.spring()
    assert isinstance(outcome.error, HandlerCancelled)
    assert outcome.error.subscription == "victim"


async def test_awaiting_a_cancelled_child_is_a_failure(victim: Victim, manner: str, second: float) -> None:
    async def misdeed(_event: Event) -> None:
        child = asyncio.ensure_future(asyncio.sleep(10 * second))
        await asyncio.sleep(0)
        child.cancel()
        await child

    await victim.start(misdeed)
    assert (await victim.spring(manner)).status is Status.DEAD_LETTERED


async def test_cancelling_its_own_task_and_returning_hits_nobody_else(victim: Victim, manner: str) -> None:
    async def misdeed(_event: Event) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    await victim.start(misdeed)
    await victim.spring(manner)


async def test_cancelling_its_own_task_and_going_on_hits_nobody_else(
    victim: Victim, manner: str, second: float
) -> None:
    async def misdeed(_event: Event) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1 * second)

    await victim.start(misdeed)
    assert (await victim.spring(manner)).status is Status.DEAD_LETTERED


async def test_cancelling_its_own_task_and_raising_hits_nobody_else(victim: Victim, manner: str) -> None:
    async def misdeed(_event: Event) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        raise ValueError("as well")

    await victim.start(misdeed)
    assert (await victim.spring(manner)).status is Status.DEAD_LETTERED


@pytest.mark.parametrize("delay", [0, 0.5, 30])
async def test_leaked_timer_that_cancels_the_task_hits_nobody_else(
    victim: Victim, manner: str, delay: float, second: float
) -> None:
    async def misdeed(_event: Event) -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_later(delay * second, task.cancel)

    await victim.start(misdeed)
    assert (await victim.spring(manner)).status is Status.SUCCEEDED


@pytest.mark.parametrize("delay", [0, 0.5])
async def test_leaked_timer_hits_one_follower_that_sleeps_at_most_and_visibly(
    victim: Victim, delay: float, second: float
) -> None:
    async def misdeed(event: Event) -> None:
        if event["n"] == 1:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_later(delay * second, task.cancel)
        else:
            await asyncio.sleep(5 * second)

    await victim.start(misdeed)
    receipts = [await victim.bus.publish(TrapSprung(n=n, behave=False)) for n in range(1, 5)]
    outcomes = [{o.subscription: o for o in await receipt}["victim"] for receipt in receipts]
    failed = [outcome.error for outcome in outcomes if outcome.status is not Status.SUCCEEDED]
    assert len(failed) <= 1
    assert all(isinstance(error, HandlerCancelled) for error in failed)


async def test_async_generator_left_inside_a_timeout_hits_nobody_else(
    victim: Victim, manner: str, second: float
) -> None:
    left: list[AsyncIterator[int]] = []

    async def numbers() -> AsyncIterator[int]:
        async with asyncio.timeout(5 * second):
            yield 1
            yield 2

    async def misdeed(_event: Event) -> None:
        generator = numbers()
        left.append(generator)
        await anext(generator)

    await victim.start(misdeed)
    assert (await victim.spring(manner)).status is Status.SUCCEEDED


@pytest.mark.parametrize(
    "error", [SystemExit(1), KeyboardInterrupt(), OwnBaseException()], ids=lambda e: type(e).__name__
)
async def test_exit_stops_neither_the_bus_nor_the_loop(victim: Victim, error: BaseException, manner: str) -> None:
    async def misdeed(_event: Event) -> None:
        await asyncio.sleep(0)
        raise error

    await victim.start(misdeed)
    outcome = await victim.spring(manner)
    assert outcome.status is Status.DEAD_LETTERED
    assert manner == "unwatched" or outcome.error is error


@pytest.mark.virtual_time
@pytest.mark.parametrize("way", ["task", "concurrent", "first"])
class TestDeadlines:
    """An attempt's deadline is told apart from the handler's own time-outs."""

    async def test_inner_timeout_is_the_handlers_error(self, event_bus: InMemoryEventBus, way: str) -> None:
        victim = Victim(event_bus, way)

        async def misdeed(_event: Event) -> None:
            async with asyncio.timeout(1):
                await asyncio.sleep(10)

        await victim.start(misdeed, timeout=5)
        outcome = await victim.spring()
        assert type(outcome.error) is TimeoutError
        assert outcome.ran_s == pytest.approx(1)

    async def test_outer_timeout_is_the_deadline(self, event_bus: InMemoryEventBus, way: str) -> None:
        victim = Victim(event_bus, way)

        async def misdeed(_event: Event) -> None:
            async with asyncio.timeout(50):
                await asyncio.sleep(100)

        await victim.start(misdeed, timeout=5)
        outcome = await victim.spring()
        assert isinstance(outcome.error, HandlerTimeout)
        assert (outcome.error.subscription, outcome.error.timeout) == ("victim", 5)
        assert outcome.ran_s == pytest.approx(5)

    async def test_equal_timeouts_fail_either_way(self, event_bus: InMemoryEventBus, way: str) -> None:
        victim = Victim(event_bus, way)

        async def misdeed(_event: Event) -> None:
            async with asyncio.timeout(5):
                await asyncio.sleep(100)

        await victim.start(misdeed, timeout=5)
        outcome = await victim.spring()
        assert outcome.status is Status.DEAD_LETTERED
        assert isinstance(outcome.error, TimeoutError)

    async def test_nested_and_caught_timeouts_succeed(self, event_bus: InMemoryEventBus, way: str) -> None:
        victim = Victim(event_bus, way)

        async def misdeed(_event: Event) -> None:
            async with asyncio.timeout(4):
                for _ in range(2):
                    try:
                        async with asyncio.timeout(1):
                            await asyncio.sleep(100)
                    except TimeoutError:
                        pass
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0

        await victim.start(misdeed, timeout=5)
        assert (await victim.spring()).status is Status.SUCCEEDED

    async def test_deadline_counts_even_if_the_cancel_is_swallowed_once(
        self, event_bus: InMemoryEventBus, way: str
    ) -> None:
        victim = Victim(event_bus, way)

        async def misdeed(_event: Event) -> None:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                pass

        await victim.start(misdeed, timeout=5)
        assert isinstance((await victim.spring()).error, HandlerTimeout)

    async def test_handler_that_ignores_its_cancel_is_abandoned_after_the_grace(
        self, event_bus: InMemoryEventBus, way: str
    ) -> None:
        victim = Victim(event_bus, way)
        release = asyncio.Event()

        async def misdeed(_event: Event) -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    pass

        await victim.start(misdeed, timeout=5)
        outcome = await victim.spring()
        assert isinstance(outcome.error, HandlerTimeout)
        assert victim.subscription.stats().abandoned == 1
        release.set()
        await settle()
        assert victim.subscription.stats().pending == 0

    async def test_deadline_starts_with_the_handler_not_with_the_wait(
        self, event_bus: InMemoryEventBus, way: str
    ) -> None:
        victim = Victim(event_bus, way)

        async def misdeed(_event: Event) -> None:
            await asyncio.sleep(4)

        await victim.start(misdeed, timeout=5)
        receipts = [await victim.bus.publish(TrapSprung(n=n, behave=False)) for n in range(1, 6)]
        statuses = [{o.subscription: o.status for o in await receipt}["victim"] for receipt in receipts]
        assert statuses == [Status.SUCCEEDED] * 5


async def test_context_changes_stay_with_the_delivery(victim: Victim, manner: str) -> None:
    seen: set[tuple[str, int]] = set()
    TENANT.set("publisher")
    victim.glance = lambda: seen.add((TENANT.get(), decimal.getcontext().prec))

    async def misdeed(_event: Event) -> None:
        TENANT.set("handler")
        decimal.getcontext().prec = 4

    await victim.start(misdeed)
    await victim.spring(manner)
    assert seen == {("publisher", 28)}
    assert (TENANT.get(), decimal.getcontext().prec) == ("publisher", 28)


async def test_waiting_on_something_only_it_knows_is_not_collected(victim: Victim, second: float) -> None:
    """A task that nobody references may be collected while it waits: the bus references its own."""
    futures: list[int] = []

    async def misdeed(_event: Event) -> None:
        future = asyncio.get_running_loop().create_future()
        futures.append(id(future))
        asyncio.get_running_loop().call_later(3 * second, lambda: future.set_result(None))
        gc.collect()
        await asyncio.sleep(0)
        gc.collect()
        await future

    await victim.start(misdeed)
    assert (await victim.spring()).status is Status.SUCCEEDED


async def test_task_group_that_fails_is_the_outcome(victim: Victim, second: float) -> None:
    async def fail() -> None:
        raise ValueError("child")

    async def misdeed(_event: Event) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            group.create_task(asyncio.sleep(100 * second))

    await victim.start(misdeed)
    outcome = await victim.spring()
    assert isinstance(outcome.error, ExceptionGroup)


async def test_child_left_running_outlives_its_delivery_and_hits_nobody(victim: Victim, second: float) -> None:
    children: list[asyncio.Task[None]] = []

    async def misdeed(_event: Event) -> None:
        children.append(asyncio.ensure_future(asyncio.sleep(5 * second)))

    await victim.start(misdeed)
    assert (await victim.spring()).status is Status.SUCCEEDED
    assert [child.cancelled() for child in children] == [False]


async def test_failure_that_is_dropped_is_counted_not_kept(victim: Victim) -> None:
    async def misdeed(_event: Event) -> None:
        raise ValueError("wrong")

    await victim.start(misdeed, on_failure=OnFailure.DROP)
    outcome = await victim.spring()
    assert outcome.status is Status.DROPPED
    assert isinstance(outcome.error, ValueError)
    assert victim.bus.dead_letters.count() == 0
