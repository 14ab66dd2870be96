"""The ways of running a handler (stepping, tasks, threads): whichever it is, none starts an attempt that must not start, and first
attempts start in order of acceptance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus, Receipt, Retry, Status, Subscription
from eventbus.testing import VirtualClock, settle

pytestmark = pytest.mark.virtual_time

WAYS = ["first", "stepped", "suspending", "task", "concurrent", "sync", "lambda"]


class Numbered(Event, type="ways.numbered"):
    n: int


class Crew:
    """A subscription run in one of the ways. `at[n]` is done by the handler of event n."""

    def __init__(self, bus: InMemoryEventBus, way: str) -> None:
        self.bus = bus
        self.way = way
        self.started: list[int] = []
        self.at: dict[int, Callable[[], Any]] = {}
        self.subscription: Subscription
        self.receipts: list[Receipt] = []

    async def start(self) -> Crew:
        handlers: dict[str, Callable[[Numbered], Any]] = {
            "sync": self.work,
            "lambda": self.work_returning_awaitable,
        }
        policies: dict[str, dict[str, Any]] = {"task": {"isolation": "task"}, "concurrent": {"concurrency": 2}}
        policy = policies.get(self.way, {})
        self.subscription = self.bus.subscribe(Numbered, handlers.get(self.way, self.work_async), **policy)
        if self.way != "first":
            await self.bus.publish_and_wait(Numbered(n=0))
            await self.bus.publish_and_wait(Numbered(n=0))
            self.started.clear()
        return self

    def work(self, event: Numbered) -> None:
        self.started.append(event.n)
        if event.n in self.at:
            loop = self.bus.loop
            assert loop is not None
            # Not from the thread: a bus belongs to its loop. The thread waits, as it does for a lock.
            done = asyncio.run_coroutine_threadsafe(_call(self.at[event.n]), loop)
            done.result(timeout=5)

    async def work_async(self, event: Numbered) -> None:
        self.started.append(event.n)
        if self.way == "suspending":
            await asyncio.sleep(0)
        if event.n in self.at:
            self.at[event.n]()

    def work_returning_awaitable(self, event: Numbered) -> Awaitable[None]:
        return self.work_async(event)

    async def publish(self, *numbers: int, watched: bool) -> None:
        for n in numbers:
            receipt = await self.bus.publish(Numbered(n=n))
            if watched:
                self.receipts.append(receipt)
            del receipt


async def _call(what: Callable[[], Any]) -> None:
    what()


@pytest.fixture(params=WAYS)
def crew(request: pytest.FixtureRequest, event_bus: InMemoryEventBus) -> Crew:
    return Crew(event_bus, request.param)


@pytest.fixture(params=[True, False], ids=["watched", "unwatched"])
def watched(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def test_attempts_start_in_order_of_acceptance(crew: Crew, watched: bool) -> None:
    await crew.start()
    for first in (1, 4, 7):
        await crew.publish(first, first + 1, first + 2, watched=watched)
        await asyncio.sleep(0)
    assert await crew.bus.drain()
    assert crew.started == list(range(1, 10))


async def test_no_attempt_starts_after_cancel(crew: Crew, watched: bool) -> None:
    await crew.start()
    crew.at[2] = crew.subscription.cancel
    await crew.publish(*range(1, 8), watched=watched)
    await settle()
    assert crew.started == [1, 2]
    stats = crew.subscription.stats()
    assert (stats.cancelled, stats.pending) == (5, 0)
    statuses = [(await receipt)[0].status for receipt in crew.receipts]
    assert statuses == ([Status.SUCCEEDED] * 2 + [Status.CANCELLED] * 5 if watched else [])


async def test_no_attempt_starts_while_paused_and_order_is_kept(crew: Crew, watched: bool) -> None:
    await crew.start()
    crew.at[2] = crew.subscription.pause
    await crew.publish(*range(1, 6), watched=watched)
    await settle()
    assert crew.started == [1, 2]
    assert crew.subscription.stats().queued == 3
    await crew.publish(6, 7, watched=not watched)
    await settle()
    assert crew.started == [1, 2]
    crew.subscription.resume()
    assert await crew.bus.drain()
    assert crew.started == list(range(1, 8))


async def test_no_attempt_starts_after_stop_and_all_go_on_after_a_restart(crew: Crew, watched: bool) -> None:
    await crew.start()
    crew.at[2] = crew.bus.stop
    await crew.publish(*range(1, 6), watched=watched)
    await settle()
    assert crew.started == [1, 2]
    assert not crew.bus.is_running
    await crew.publish(6, 7, watched=not watched)
    await settle()
    assert crew.started == [1, 2]
    await crew.bus.connect()
    assert await crew.bus.drain()
    assert crew.started == list(range(1, 8))


@pytest.mark.parametrize("later", [1, 2, 3, 4])
async def test_pause_between_bursts_keeps_the_order(crew: Crew, watched: bool, later: int) -> None:
    """Some events are taken as a batch, some one by one: paused and resumed, they still come in order."""
    await crew.start()
    await crew.publish(1, 2, 3, watched=watched)
    for _ in range(later):
        await asyncio.sleep(0)
    await crew.publish(4, watched=not watched)
    for _ in range(later):
        await asyncio.sleep(0)
    await crew.publish(5, 6, watched=watched)
    crew.subscription.pause()
    for _ in range(later):
        await asyncio.sleep(0)
    crew.subscription.resume()
    await crew.publish(7, 8, watched=not watched)
    assert await crew.bus.drain()
    assert crew.started == list(range(1, 9))


async def test_never_more_at_once_than_the_concurrency(crew: Crew, virtual_clock: VirtualClock) -> None:
    """With one at a time, an attempt ends before the next starts, whatever the handler returned to be awaited."""
    running, most = 0, 0

    async def slow(_event: Event) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1

    def returning(event: Event) -> Awaitable[None]:
        return slow(event)

    concurrency = 2 if crew.way == "concurrent" else 1
    crew.bus.subscribe("ways.slow", returning if crew.way == "lambda" else slow, concurrency=concurrency)
    for _ in range(6):
        await crew.bus.publish("ways.slow")
    assert await crew.bus.drain()
    assert most == concurrency
    assert virtual_clock.time() == pytest.approx(6 / concurrency)


async def test_waiting_for_a_retrying_key_costs_no_turns(crew: Crew, virtual_clock: VirtualClock) -> None:
    """What waits behind a key that is retried for an hour must not keep the loop busy: here it would never go on."""
    ran: list[int] = []

    async def fail_once(event: Event) -> None:
        ran.append(event["n"])
        if crew.way == "suspending":
            await asyncio.sleep(0)
        if event["n"] == 1 and ran.count(1) == 1:
            raise OSError("once")

    def fail_once_sync(event: Event) -> Awaitable[None]:
        return fail_once(event)

    crew.bus.subscribe(
        "ways.keyed",
        fail_once_sync if crew.way == "lambda" else fail_once,
        key=lambda _event: "one",
        retry=Retry(attempts=2, delay=3600, max_delay=3600, jitter=False),
        concurrency=2 if crew.way == "concurrent" else 1,
    )
    for n in range(4):
        await crew.bus.publish("ways.keyed", {"n": n})
    assert await crew.bus.drain()
    assert ran == [0, 1, 1, 2, 3]
    assert virtual_clock.time() == pytest.approx(3600)


@pytest.mark.event_bus(max_queue_size=4)
async def test_cancelling_frees_the_backlog_behind_a_handler_that_hangs(event_bus: InMemoryEventBus) -> None:
    """What waits behind it is settled at once: it keeps places at the door."""
    release = asyncio.Event()

    async def hang(event: Event) -> None:
        await asyncio.sleep(0)
        if event["n"] == 1:
            await release.wait()

    subscription = event_bus.subscribe("ways.hung", hang)
    await event_bus.publish_and_wait("ways.hung", {"n": 0})
    for n in range(1, 5):
        await event_bus.publish("ways.hung", {"n": n})
    await settle()
    subscription.cancel()
    stats = subscription.stats()
    assert (stats.cancelled, stats.in_flight, stats.pending) == (3, 1, 1)
    for _ in range(3):
        await event_bus.publish("ways.other", timeout=0.1)
    release.set()
    assert await event_bus.drain()
    assert subscription.stats().succeeded == 2
