"""Worker: the order in which one subscription takes what waits: by acceptance, CONTROL first, of one key never two at a time; and
what a lossy queue drops, replaces and keeps.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus import Event, InMemoryEventBus, Kind, Overflow, Retry, Status, Subscription
from eventbus.testing import VirtualClock, VirtualLoop, settle

pytestmark = pytest.mark.virtual_time


class Mail(Event, type="mail.sent"):
    n: int
    key: str | None = None


class Price(Event, type="mail.price", kind=Kind.QUOTE, key="key"):
    n: int
    key: str


class Card(Event, type="mail.card", kind=Kind.QUOTE, key="key"):
    n: int
    key: str


class Telegram(Event, type="mail.telegram", kind=Kind.CONTROL):
    n: int


class Desk:
    """A subscription whose handlers wait until they are told to go on, or to fail."""

    def __init__(self, bus: InMemoryEventBus, selector: Any = "mail.*", **policy: Any) -> None:
        self.bus = bus
        self.started: list[int] = []
        self.running: dict[int, asyncio.Future[None]] = {}
        self.subscription: Subscription = bus.subscribe(selector, self.handle, name="desk", **policy)

    async def handle(self, event: Any) -> None:
        self.started.append(event.n)
        self.running[event.n] = asyncio.get_running_loop().create_future()
        try:
            await self.running[event.n]
        finally:
            del self.running[event.n]

    async def get(self, *events: Event) -> None:
        """One by one: what comes in one burst is not yet behind."""
        for event in events:
            await self.bus.publish(event)
            await settle()

    async def end(self, *numbers: int, error: BaseException | None = None) -> None:
        for n in numbers:
            if error is None:
                self.running[n].set_result(None)
            else:
                self.running[n].set_exception(error)
        await settle()

    async def end_all(self) -> list[int]:
        """Let one after the other end, the oldest first; gives the order in which all have started."""
        while self.running:
            await self.end(next(iter(self.running)))
        assert self.subscription.stats().pending == 0
        return self.started


def mails(keys: str, first: int = 0) -> list[Mail]:
    return [Mail(n=n, key=None if key == "-" else key) for n, key in enumerate(keys, first)]


def prices(keys: str, first: int = 0) -> list[Price]:
    return [Price(n=n, key=key) for n, key in enumerate(keys, first)]


@pytest.fixture(params=["auto", "task"])
def isolation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_first_in_first_out(event_bus: InMemoryEventBus, isolation: str) -> None:
    desk = Desk(event_bus, isolation=isolation)
    await desk.get(*mails("----"))
    assert desk.started == [0]
    assert await desk.end_all() == [0, 1, 2, 3]


async def test_urgent_ones_overtake(event_bus: InMemoryEventBus, isolation: str) -> None:
    desk = Desk(event_bus, isolation=isolation)
    await desk.get(*mails("---"))
    await desk.get(Telegram(n=3), Telegram(n=4))
    assert await desk.end_all() == [0, 3, 4, 1, 2]


# --- keys -----------------------------------------------------------------------------------------------------------


async def test_of_one_key_never_two_at_a_time(event_bus: InMemoryEventBus, isolation: str) -> None:
    desk = Desk(event_bus, key="key", concurrency=4, isolation=isolation)
    await desk.get(*mails("aaba"))
    assert desk.started == [0, 2]
    await desk.end(0)
    assert desk.started == [0, 2, 1]
    await desk.end(2)
    assert desk.started == [0, 2, 1]
    await desk.end(1)
    assert await desk.end_all() == [0, 2, 1, 3]


async def test_events_without_a_key_never_wait_for_each_other(event_bus: InMemoryEventBus, isolation: str) -> None:
    desk = Desk(event_bus, key="key", concurrency=4, isolation=isolation)
    await desk.get(*mails("--"))
    assert desk.started == [0, 1]
    await desk.end_all()


async def test_one_that_is_tried_again_comes_before_what_waits_behind_its_key(
    event_bus: InMemoryEventBus, isolation: str, virtual_clock: VirtualClock
) -> None:
    desk = Desk(event_bus, key="key", isolation=isolation, retry=Retry(attempts=2, delay=1, jitter=False))
    await desk.get(*mails("aab"))
    await desk.end(0, error=OSError("once"))
    assert desk.started == [0, 2]  # another key goes on, its own waits
    await virtual_clock.advance(1)
    assert await desk.end_all() == [0, 2, 0, 1]


async def test_an_out_of_order_retry_lets_its_key_go_on(
    event_bus: InMemoryEventBus, isolation: str, virtual_clock: VirtualClock
) -> None:
    retry = Retry(attempts=2, delay=1, jitter=False, out_of_order=True)
    desk = Desk(event_bus, key="key", isolation=isolation, retry=retry)
    await desk.get(*mails("aa"))
    await desk.end(0, error=OSError("once"))
    assert desk.started == [0, 1]
    await virtual_clock.advance(1)
    assert desk.started == [0, 1]
    assert await desk.end_all() == [0, 1, 0]


async def test_several_tried_again_come_in_order_of_acceptance(
    event_bus: InMemoryEventBus, isolation: str, virtual_clock: VirtualClock
) -> None:
    retry = Retry(attempts=2, delay=1, jitter=False)
    desk = Desk(event_bus, concurrency=3, isolation=isolation, retry=retry)
    await desk.get(*mails("-----"))
    desk.subscription.pause()
    await desk.end(2, 0, 1, error=OSError("once"))
    await virtual_clock.advance(2)
    desk.subscription.resume()
    await settle()
    assert await desk.end_all() == [0, 1, 2, 0, 1, 2, 3, 4]


# --- overflow ---------------------------------------------------------------------------------------------------------


async def served(desk: Desk, events: list[Any]) -> tuple[list[int], list[int]]:
    """Publish one by one while the first is in hand; gives who started in the end, and who was lost on the way."""
    receipts = []
    for event in events:
        receipts.append(await desk.bus.publish(event))
        await settle()
    started = await desk.end_all()
    outcomes = [(await receipt)[0].status for receipt in receipts]
    return started, [event.n for event, status in zip(events, outcomes, strict=True) if status is Status.DROPPED]


async def test_oldest_is_dropped_when_full(event_bus: InMemoryEventBus, isolation: str) -> None:
    desk = Desk(event_bus, queue_size=2, overflow=Overflow.DROP_OLDEST, isolation=isolation)
    assert await served(desk, mails("-----")) == ([0, 3, 4], [1, 2])


async def test_newest_is_dropped_when_full(event_bus: InMemoryEventBus, isolation: str) -> None:
    desk = Desk(event_bus, queue_size=2, overflow=Overflow.DROP_NEWEST, isolation=isolation)
    assert await served(desk, mails("-----")) == ([0, 1, 2], [3, 4])


async def test_what_is_in_hand_is_dropped_by_nothing_that_comes_of_its_key(event_bus: InMemoryEventBus) -> None:
    desk = Desk(event_bus, key="key", queue_size=1, overflow=Overflow.DROP_OLDEST)
    assert await served(desk, mails("aaab")) == ([0, 3], [1, 2])


async def test_what_is_never_dropped_shares_a_lossy_queue_and_stays(event_bus: InMemoryEventBus) -> None:
    desk = Desk(event_bus, queue_size=2, overflow=Overflow.DROP_OLDEST)
    await desk.get(*mails("---"))
    await desk.get(*(Telegram(n=n) for n in range(3, 7)))
    await desk.get(*mails("-", 7))
    assert sorted(await desk.end_all()) == [0, 2, 3, 4, 5, 6, 7]
    assert desk.subscription.stats().dropped == 1


async def test_latest_value_takes_the_place_of_the_one_that_waits(event_bus: InMemoryEventBus, isolation: str) -> None:
    desk = Desk(event_bus, Price, isolation=isolation)
    assert await served(desk, prices("zabaab")) == ([0, 4, 5], [1, 2, 3])
    stats = desk.subscription.stats()
    assert (stats.conflated, stats.gaps) == (3, 2)


async def test_every_conflated_stretch_is_one_gap(event_bus: InMemoryEventBus) -> None:
    desk = Desk(event_bus, Price)
    await desk.get(*prices("zaaa"))
    await desk.end(0)
    await desk.get(*prices("aaaaa", 4))
    assert await desk.end_all() == [0, 3, 8]
    stats = desk.subscription.stats()
    assert (stats.conflated, stats.gaps) == (6, 2)


async def test_values_of_two_types_are_not_mixed_up(event_bus: InMemoryEventBus) -> None:
    desk = Desk(event_bus, "mail.*")
    assert await served(desk, [Price(n=0, key="z"), Price(n=1, key="a"), Card(n=2, key="a")]) == ([0, 1, 2], [])


# --- ends ---------------------------------------------------------------------------------------------------------------


async def test_cancelling_settles_once_whatever_waits_and_wherever(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock
) -> None:
    """In hand, behind a busy key, waiting for a retry, replaced, and not looked at yet."""
    retry = Retry(attempts=2, delay=60, max_delay=60, jitter=False)
    desk = Desk(event_bus, key="key", concurrency=2, retry=retry)
    receipts = await event_bus.publish_many([*mails("abab"), *prices("vv", 4), *mails("cc", 6)])
    await settle()
    await desk.end(1, error=OSError("once"))
    desk.subscription.cancel()
    await settle()
    await virtual_clock.advance(120)
    await desk.end_all()
    outcomes = Counter([(await receipt)[0].status for receipt in receipts])
    assert sum(outcomes.values()) == len(receipts)
    assert set(outcomes) <= {Status.SUCCEEDED, Status.CANCELLED, Status.DROPPED}
    assert outcomes[Status.CANCELLED] >= 4
    stats = desk.subscription.stats()
    assert (stats.pending, stats.queued, stats.retry_wait) == (0, 0, 0)


async def test_oldest_age_is_that_of_what_waited_longest(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock
) -> None:
    desk = Desk(event_bus)
    desk.subscription.pause()
    assert desk.subscription.stats().oldest_age_s == 0
    await desk.get(*mails("-"))
    await virtual_clock.advance(3)
    await desk.get(Telegram(n=1))
    await virtual_clock.advance(2)
    assert desk.subscription.stats().oldest_age_s == pytest.approx(5)
    desk.subscription.resume()
    await settle()
    await desk.end_all()


Act = tuple[str, int]


@given(
    acts=st.lists(st.tuples(st.sampled_from(["offer", "end", "fail"]), st.integers(0, 2)), max_size=40),
    concurrency=st.integers(1, 3),
    isolation=st.sampled_from(["auto", "task"]),
)
def test_keys_keep_their_order_and_never_overlap(acts: list[Act], concurrency: int, isolation: str) -> None:
    async def play(loop: VirtualLoop) -> None:
        bus = InMemoryEventBus(clock=loop.clock, pool=loop.pool())
        async with bus:
            retry = Retry(attempts=100, delay=0.001, jitter=False)
            desk = Desk(bus, key="key", concurrency=concurrency, isolation=isolation, retry=retry)
            sent: list[Mail] = []
            for act, key in acts:
                if act == "offer":
                    sent.append(Mail(n=len(sent), key=str(key)))
                    await desk.get(sent[-1])
                elif desk.running:
                    chosen = [*desk.running][key % len(desk.running)]
                    await desk.end(chosen, error=OSError("again") if act == "fail" else None)
                keys = [sent[n].key for n in desk.running]
                assert len(keys) == len(set(keys)) <= concurrency
            while desk.subscription.stats().pending:
                await desk.end(*desk.running)
                await asyncio.sleep(0.01)
            first_attempts = [*dict.fromkeys(desk.started)]
            for one in "012":
                mine = [n for n in first_attempts if sent[n].key == one]
                assert mine == sorted(mine)
            assert len(first_attempts) == len(sent)

    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(play(loop))


@pytest.mark.parametrize("shape", ["one", "two", "task"])
async def test_control_keeps_its_order_behind_one_that_ended_while_paused(
    event_bus: InMemoryEventBus, shape: str
) -> None:
    started: list[int] = []

    async def work(event: Event) -> None:
        started.append(event["n"])
        await asyncio.sleep(1)

    async def work_two(event: Event, _delivery: Any) -> None:
        await work(event)

    handler: Any = work_two if shape == "two" else work
    subscription = event_bus.subscribe(
        "mail.*",
        handler,
        isolation="task" if shape == "task" else "auto",
        overflow=Overflow.DROP_OLDEST,
        queue_size=2,
    )
    for event in (Telegram(n=1), Telegram(n=2), Mail(n=5)):
        await event_bus.publish(event)
        await settle()
    subscription.pause()
    await asyncio.sleep(2)
    for n in (3, 4):
        await event_bus.publish(Telegram(n=n))
        await settle()
    subscription.resume()
    assert await event_bus.drain()
    assert started == [1, 2, 3, 4, 5]
