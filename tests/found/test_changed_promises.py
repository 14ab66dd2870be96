"""What the bus promises anew: the door, receipts, deadlines, groups in memory, causes, taps, plain JSON, plug-ins, the face.

A marked test waits for the code that keeps its promise. Only public names are used: what is below them may be rewritten.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import types
import typing
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import eventbus
from eventbus import (
    BackendTaken,
    CodecError,
    Event,
    HandlerCancelled,
    HandlerTimeout,
    HopLimit,
    InMemoryEventBus,
    Kind,
    PolicyConflict,
    QueueFull,
    Receipt,
    Reject,
    Retry,
    RetryLater,
    Status,
    UnknownBackend,
    create_event_bus,
    register_backend,
)
from eventbus.testing import Recorder, VirtualClock, settle

face: Any = eventbus  # for names that are promised and not there yet


class Numbered(Event, type="promise.numbered"):
    """One of many."""

    n: int = 0


class Renumbered(Numbered, type="promise.renumbered"):
    """A kind of the same."""


class Stopped(Event, type="promise.stopped", kind=Kind.CONTROL):
    """It overtakes."""


class Wide(Event, type="promise.wide"):
    """A payload that may hold anything."""

    data: Any


async def ignore(_event: Event) -> None:
    """A handler for whom everything is well."""


def bus_of(kind: str, folder: Path, **settings: Any) -> Any:
    """A bus of each kind; a journal lies in `folder`."""
    if kind == "memory":
        return create_event_bus("memory://", **settings)
    path, behind = str(folder / "run.db"), kind == "behind"
    return create_event_bus({"backend": "sqlite", "path": path, "write_behind": behind}, **settings)


KINDS = ["memory", "sqlite", "behind"]


@pytest.fixture(params=KINDS)
async def any_bus(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """A running bus of each kind."""
    bus = bus_of(request.param, tmp_path)
    await bus.connect()
    yield bus
    await bus.shutdown(timeout=1)


def entered(bus: InMemoryEventBus) -> int:
    """How many events publishers still enter before the door is full."""
    count = 0
    while True:
        try:
            bus.publish_nowait("promise.filler")
        except QueueFull:
            return count
        count += 1


# --- the door --------------------------------------------------------------------------------------------------------


class Sticking:
    """A handler whose first event of each burst sticks in some way; the others are handled."""

    def __init__(self, clock: VirtualClock) -> None:
        self.release = asyncio.Event()
        self.clock = clock

    async def hang(self, event: Numbered) -> None:
        if event.n == 0:
            await self.release.wait()

    async def retry(self, event: Numbered) -> None:
        if event.n == 0 and not self.release.is_set():
            raise RetryLater(after=3600)


@pytest.mark.parametrize(
    ("manner", "policy"),
    [
        ("hang", {"concurrency": 6}),
        ("hang", {"concurrency": 6, "isolation": "task"}),
        ("hang", {"concurrency": 6, "timeout": 7200}),
        ("hang", {"concurrency": 6, "retry": Retry(attempts=2)}),
        ("hang", {"concurrency": 6, "key": "n"}),
        ("retry", {"retry": Retry(attempts=3, out_of_order=True)}),
        ("retry", {"retry": Retry(attempts=3, out_of_order=True), "concurrency": 6}),
    ],
    ids=[
        "hung",
        "hung-task",
        "hung-timeout",
        "hung-retry",
        "held-by-key",
        "waiting-for-retry",
        "waiting-for-retry-six",
    ],
)
async def test_five_that_stick_in_five_bursts_hold_five_places(
    virtual_clock: VirtualClock, manner: str, policy: dict[str, Any]
) -> None:
    bus, sticking = InMemoryEventBus(10_000, clock=virtual_clock), Sticking(virtual_clock)
    bus.subscribe(Numbered, getattr(sticking, manner), **policy)
    async with bus:
        for _ in range(5):
            for n in range(100):
                await bus.publish(Numbered(n=n))
            await settle()
        assert bus.stats().pending == 5
        assert entered(bus) == 9_995
        sticking.release.set()
        assert await bus.drain(timeout=7200)
        assert entered(bus) == 10_000


async def test_what_waits_behind_a_hung_delivery_holds_its_places_and_no_more(virtual_clock: VirtualClock) -> None:
    bus, sticking = InMemoryEventBus(10_000, clock=virtual_clock), Sticking(virtual_clock)
    bus.subscribe(Numbered, sticking.hang)
    bus.subscribe(Numbered, ignore)
    async with bus:
        for n in range(-50, 51):
            await bus.publish(Numbered(n=n))
        await settle()
        assert bus.stats().pending == 51
        assert entered(bus) == 10_000 - 51
        sticking.release.set()
        assert await bus.drain(timeout=60)


async def test_what_a_paused_subscription_keeps_holds_its_places_and_no_more(virtual_clock: VirtualClock) -> None:
    bus = InMemoryEventBus(10_000, clock=virtual_clock)
    paused = bus.subscribe(Renumbered, ignore)
    paused.pause()
    bus.subscribe(Numbered, ignore)
    async with bus:
        for n in range(100):
            await bus.publish(Renumbered(n=n) if n % 20 == 0 else Numbered(n=n))
        await settle()
        assert entered(bus) == 9_995
        paused.resume()
        assert await bus.drain(timeout=60)
        assert entered(bus) == 10_000


async def test_the_queue_of_a_subscription_is_full_at_its_size_and_not_before(virtual_clock: VirtualClock) -> None:
    bus = InMemoryEventBus(10_000, clock=virtual_clock)
    subscription = bus.subscribe("promise.filler", ignore, queue_size=7)
    subscription.pause()
    async with bus:
        assert entered(bus) == 7
        await settle()
        assert entered(bus) == 0
        subscription.resume()
        await settle()
        subscription.pause()
        assert entered(bus) == 7
        subscription.resume()


async def test_a_lossy_queue_keeps_as_many_as_its_size(virtual_clock: VirtualClock) -> None:
    bus, heard = InMemoryEventBus(clock=virtual_clock), Recorder()
    subscription = bus.subscribe(Numbered, heard, queue_size=7, overflow="drop_oldest")
    subscription.pause()
    async with bus:
        for n in range(20):
            await bus.publish(Numbered(n=n))
        await settle()
        assert (subscription.stats().queued, subscription.stats().dropped) == (7, 13)
        subscription.resume()
        assert await bus.drain(timeout=60)
    assert heard.values("n") == list(range(13, 20))


# --- receipts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("many", [False, True], ids=["publish", "publish_many"])
async def test_a_kept_receipt_keeps_none_of_the_other_events_of_its_burst(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock, many: bool
) -> None:
    bus = InMemoryEventBus(history=1, clock=virtual_clock)
    bus.subscribe(Numbered, ignore, name="ledger")
    events = [Numbered(n=n) for n in range(2_048)]
    alive = [weakref.ref(event) for event in events]
    event_id = events[1_000].event_id
    async with bus:
        receipts = await bus.publish_many(events) if many else [await bus.publish(event) for event in events]
        kept = receipts[1_000]
        del receipts, events
        await bus.drain(timeout=60)
        gc.collect()
        assert sum(reference() is not None for reference in alive) <= 8
        assert kept.event_id == event_id
        assert [(outcome.subscription, outcome.status) for outcome in await kept] == [("ledger", Status.SUCCEEDED)]


@pytest.mark.parametrize("error", [ValueError("no"), Reject("never")], ids=["raised", "rejected"])
async def test_a_receipt_awaited_long_after_the_burst_has_its_own_outcome(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock, error: Exception
) -> None:
    async def pick(event: Numbered) -> int:
        if event.n % 3 == 0:
            raise error
        return event.n

    event_bus.subscribe(Numbered, pick)
    receipts = [await event_bus.publish(Numbered(n=n)) for n in range(100)]
    assert await event_bus.drain(timeout=60)
    outcomes = [(await receipt)[0] for receipt in receipts]
    assert [o.result for o in outcomes] == [n if n % 3 else None for n in range(100)]
    assert [o.error for o in outcomes] == [None if n % 3 else error for n in range(100)]


# --- deadlines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [{}, {"isolation": "task"}, {"concurrency": 2}], ids=["stepped", "task", "two"])
class TestDeadline:
    """A `timeout=` is armed when the handler first waits, and counts from its start."""

    async def outcome(self, bus: InMemoryEventBus, handler: Callable[[Event], Any], policy: dict[str, Any]) -> Any:
        bus.subscribe(Numbered, handler, timeout=5, **policy)
        async with asyncio.timeout(100):
            return (await (await bus.publish(Numbered())))[0]

    async def test_a_handler_that_only_blocks_and_returns_has_succeeded(
        self, event_bus: InMemoryEventBus, virtual_clock: VirtualClock, policy: dict[str, Any]
    ) -> None:
        async def block(_event: Event) -> str:
            virtual_clock.move(10)
            return "done"

        outcome = await self.outcome(event_bus, block, policy)
        assert (outcome.status, outcome.result) == (Status.SUCCEEDED, "done")

    async def test_a_handler_that_waits_after_its_deadline_passed_ends_there(
        self, event_bus: InMemoryEventBus, virtual_clock: VirtualClock, policy: dict[str, Any]
    ) -> None:
        reached: list[str] = []

        async def block(_event: Event) -> None:
            virtual_clock.move(10)
            reached.append("waits")
            await asyncio.sleep(1)
            reached.append("waited")

        outcome = await self.outcome(event_bus, block, policy)
        assert isinstance(outcome.error, HandlerTimeout)
        assert reached == ["waits"]

    async def test_the_deadline_counts_from_the_start_and_not_from_the_first_wait(
        self, event_bus: InMemoryEventBus, virtual_clock: VirtualClock, policy: dict[str, Any]
    ) -> None:
        async def block(_event: Event) -> None:
            virtual_clock.move(3)
            await asyncio.sleep(3)

        assert isinstance((await self.outcome(event_bus, block, policy)).error, HandlerTimeout)

    async def test_a_handler_that_blocks_and_waits_within_its_time_succeeds(
        self, event_bus: InMemoryEventBus, virtual_clock: VirtualClock, policy: dict[str, Any]
    ) -> None:
        async def block(_event: Event) -> None:
            virtual_clock.move(3)
            await asyncio.sleep(1)

        assert (await self.outcome(event_bus, block, policy)).status is Status.SUCCEEDED


# --- C6: a task that is kept hold of ---------------------------------------------------------------------------------


class Hold:
    """Subscription A cancels its task after it returned; B handles the same events and those that follow."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.generators: list[AsyncIterator[int]] = []

    async def by_timer(self, event: Numbered) -> None:
        task = asyncio.current_task()
        assert task is not None
        if event.n == 1:
            asyncio.get_running_loop().call_later(self.delay, task.cancel)

    async def by_generator(self, event: Numbered) -> None:
        async def numbers() -> AsyncIterator[int]:
            async with asyncio.timeout(self.delay):
                yield 1
                yield 2

        if event.n == 1:
            self.generators.append(numbers())
            await anext(self.generators[0])


@pytest.mark.parametrize("delay", [0, 0.5, 3])
@pytest.mark.parametrize("manner", ["by_timer", "by_generator"])
@pytest.mark.parametrize("suspends", [False, True], ids=["at-once", "suspends"])
class TestTaskThatIsKeptHoldOf:
    """From A to B: at most one later delivery is hit, it says so, a retry mends it, a task of its own rules it out."""

    async def outcomes_of_b(
        self, bus: InMemoryEventBus, manner: str, delay: float, suspends: bool, **policy: Any
    ) -> list[Any]:
        async def handle(_event: Numbered) -> str:
            if suspends:
                await asyncio.sleep(1)
            return "served"

        bus.subscribe(Numbered, getattr(Hold(delay), manner), name="A")
        bus.subscribe(Numbered, handle, name="B", **policy)
        receipts: list[Receipt] = []
        for n in range(6):
            receipts.append(await bus.publish(Numbered(n=n)))
            if n % 2:
                await settle()
        async with asyncio.timeout(3600):
            ended = [{outcome.subscription: outcome for outcome in await receipt} for receipt in receipts]
        assert await bus.drain(timeout=60)
        stats = next(s for s in bus.stats().subscriptions if s.name == "B")
        assert stats.accepted == 6
        assert stats.pending == 0
        return [outcomes["B"] for outcomes in ended]

    async def test_at_most_one_delivery_fails_and_says_that_it_was_cancelled(
        self, event_bus: InMemoryEventBus, virtual_clock: VirtualClock, manner: str, delay: float, suspends: bool
    ) -> None:
        outcomes = await self.outcomes_of_b(event_bus, manner, delay, suspends)
        failed = [outcome for outcome in outcomes if outcome.status is not Status.SUCCEEDED]
        assert len(failed) <= 1
        assert all(isinstance(outcome.error, HandlerCancelled) for outcome in failed)
        assert all(outcome.result == "served" for outcome in outcomes if outcome not in failed)

    async def test_a_retry_mends_it(
        self, event_bus: InMemoryEventBus, virtual_clock: VirtualClock, manner: str, delay: float, suspends: bool
    ) -> None:
        outcomes = await self.outcomes_of_b(event_bus, manner, delay, suspends, retry=Retry(attempts=2))
        assert [outcome.result for outcome in outcomes] == ["served"] * 6

    async def test_a_task_of_its_own_rules_it_out(
        self, event_bus: InMemoryEventBus, virtual_clock: VirtualClock, manner: str, delay: float, suspends: bool
    ) -> None:
        outcomes = await self.outcomes_of_b(event_bus, manner, delay, suspends, isolation="task")
        assert [(outcome.result, outcome.attempts) for outcome in outcomes] == [("served", 1)] * 6


# --- durable groups in memory ----------------------------------------------------------------------------------------

GROUPS = ["memory", "sqlite"]


@pytest.mark.parametrize("kind", GROUPS)
class TestGroup:
    """A durable handler is tested in memory as it runs over a journal."""

    async def test_a_second_live_subscription_of_one_group_is_refused(self, kind: str, tmp_path: Path) -> None:
        async with bus_of(kind, tmp_path) as bus:
            bus.subscribe(Numbered, ignore, group="books")
            with pytest.raises(PolicyConflict, match="books"):
                bus.subscribe(Numbered, ignore, group="books")

    async def test_a_group_that_was_cancelled_goes_on_where_it_was(self, kind: str, tmp_path: Path) -> None:
        seen = Recorder()
        async with bus_of(kind, tmp_path) as bus:
            for life in range(3):
                subscription = bus.subscribe(Numbered, seen, group="books", name=f"life {life}")
                await bus.publish(Numbered(n=2 * life))
                assert await bus.drain(timeout=60)
                await subscription.cancel()
                await bus.publish(Numbered(n=2 * life + 1))  # while nobody is there
            bus.subscribe(Numbered, seen, group="books")
            assert await bus.drain(timeout=60)
        assert seen.values("n") == [0, 1, 2, 3, 4, 5]

    async def test_what_waited_at_the_cancel_goes_to_the_next_before_newer_events(
        self, kind: str, tmp_path: Path
    ) -> None:
        began, go, first, second = asyncio.Event(), asyncio.Event(), list[int](), Recorder()

        async def hold(event: Numbered) -> None:
            began.set()
            await go.wait()
            first.append(event.n)

        async with bus_of(kind, tmp_path) as bus:
            subscription = bus.subscribe(Numbered, hold, group="books")
            await bus.publish_many([Numbered(n=n) for n in range(3)])
            async with asyncio.timeout(60):
                await began.wait()
                ending = subscription.cancel()
                go.set()
                await ending
            await bus.publish(Numbered(n=3))
            bus.subscribe(Numbered, second, group="books")
            assert await bus.drain(timeout=60)
        assert (first, second.values("n")) == ([0], [1, 2, 3])

    async def test_two_groups_each_get_everything(self, kind: str, tmp_path: Path) -> None:
        books, risk = Recorder(), Recorder()
        async with bus_of(kind, tmp_path) as bus:
            bus.subscribe(Numbered, books, group="books")
            bus.subscribe(Numbered, risk, group="risk")
            await bus.publish_many([Numbered(n=n) for n in range(3)])
            assert await bus.drain(timeout=60)
        assert books.values("n") == risk.values("n") == [0, 1, 2]

    async def test_attempts_count_up_to_the_dead_letter(self, kind: str, tmp_path: Path) -> None:
        attempts: list[int] = []

        async def fail(_event: Event, delivery: eventbus.Delivery) -> None:
            attempts.append(delivery.attempt)
            raise OSError("no")

        async with bus_of(kind, tmp_path) as bus:
            bus.subscribe(Numbered, fail, group="books", retry=Retry(attempts=3, delay=0))
            await bus.publish(Numbered(n=7))
            assert await bus.drain(timeout=60)
            (letter,) = tuple(bus.dead_letters)
        assert attempts == [1, 2, 3]
        assert (letter.event["n"], letter.attempts, letter.subscription) == (7, 3, "books")

    async def test_a_rejected_delivery_is_a_dead_letter_and_the_group_goes_on(self, kind: str, tmp_path: Path) -> None:
        seen: list[int] = []

        async def pick(event: Numbered) -> None:
            if event.n == 1:
                raise Reject("wrong number")
            seen.append(event.n)

        async with bus_of(kind, tmp_path) as bus:
            bus.subscribe(Numbered, pick, group="books")
            await bus.publish_many([Numbered(n=n) for n in range(3)])
            assert await bus.drain(timeout=60)
            assert [letter.event["n"] for letter in bus.dead_letters] == [1]
        assert seen == [0, 2]

    async def test_durable_with_a_name_is_a_group_of_that_name(self, kind: str, tmp_path: Path) -> None:
        async with bus_of(kind, tmp_path) as bus:
            bus.subscribe(Numbered, ignore, durable=True, name="books")
            with pytest.raises(PolicyConflict, match="books"):
                bus.subscribe(Numbered, ignore, group="books")


async def test_a_group_in_memory_starts_at_no_beginning_and_says_why() -> None:
    with pytest.raises(PolicyConflict, match=r"start.*(process|memory|journal)"):
        InMemoryEventBus().subscribe(Numbered, ignore, group="books", start="beginning")


async def test_a_group_in_memory_survives_no_process() -> None:
    seen = Recorder()
    first: Any = InMemoryEventBus()
    async with first:
        await first.publish(Numbered(n=1))
        first.subscribe(Numbered, ignore, group="books")
    second: Any = InMemoryEventBus()
    second.subscribe(Numbered, seen, group="books")
    async with second:
        await second.publish(Numbered(n=2))
        assert await second.drain(timeout=60)
    assert seen.values("n") == [2]


# --- looking: explain, dead letters, rearm, replay -------------------------------------------------------------------


class TestExplain:
    """`await bus.explain(event_id)` on every bus."""

    async def test_it_is_a_coroutine(self, any_bus: Any) -> None:
        receipt = await any_bus.publish(Numbered(n=1))
        await any_bus.drain(timeout=60)
        explaining = any_bus.explain(receipt.event_id)
        assert inspect.iscoroutine(explaining)
        assert (await explaining).event["n"] == 1

    async def test_it_tells_the_causes_and_effects_with_their_ages(self, any_bus: Any) -> None:
        async def publish(_event: Event) -> None:
            await any_bus.publish("promise.effect")

        any_bus.subscribe(Numbered, publish, name="cause")
        receipt = await any_bus.publish(Numbered())
        await any_bus.drain(timeout=60)
        explanation = await any_bus.explain(receipt.event_id)
        (effect,) = explanation.descendants
        assert effect.type == "promise.effect"
        assert explanation.after_cause_s(effect) >= 0
        assert explanation.after_cause_s(explanation.event) is None
        assert (await any_bus.explain(effect.event_id)).root.event_id == receipt.event_id

    async def test_it_tells_what_handlers_made_of_it_and_how_long_they_ran(self, any_bus: Any) -> None:
        any_bus.subscribe(Numbered, ignore, name="ledger")
        receipt = await any_bus.publish(Numbered())
        await any_bus.drain(timeout=60)
        explanation = await any_bus.explain(receipt.event_id)
        (handled,) = explanation.handled[receipt.event_id]
        assert (handled.subscription, handled.status, handled.attempts) == ("ledger", "succeeded", 1)
        assert handled.ran_s >= 0
        assert "ledger succeeded" in str(explanation)

    async def test_an_event_that_never_was_is_a_lookup_error_when_awaited(self, any_bus: Any) -> None:
        explaining = any_bus.explain("nobody")
        with pytest.raises(LookupError):
            await explaining


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_no_second_way_to_explain(kind: str, tmp_path: Path) -> None:
    assert not hasattr(bus_of(kind, tmp_path), "trace")


async def test_explain_tells_how_long_a_handler_in_memory_ran(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock
) -> None:
    bus: Any = event_bus

    async def slow(_event: Event) -> None:
        await asyncio.sleep(2)

    bus.subscribe(Numbered, slow, name="slow")
    receipt = await bus.publish(Numbered())
    assert await bus.drain(timeout=60)
    explanation = await bus.explain(receipt.event_id)
    assert [handled.ran_s for handled in explanation.handled[receipt.event_id]] == [pytest.approx(2)]


class TestDeadLetters:
    """Coroutines on every bus: a journal or a server may have to be asked."""

    @pytest.fixture
    async def failing(self, any_bus: Any) -> Any:
        fails = [True]

        async def pick(event: Numbered) -> None:
            if fails[0]:
                raise ValueError(event.n)

        any_bus.subscribe(Numbered, pick, name="picky")
        await any_bus.publish_many([Numbered(n=n) for n in range(3)])
        assert await any_bus.drain(timeout=60)
        fails[0] = False
        return any_bus

    async def test_list(self, failing: Any) -> None:
        letters = await failing.dead_letters.list()
        assert [letter.event["n"] for letter in letters] == [0, 1, 2]

    async def test_list_of_some(self, failing: Any) -> None:
        letters = await failing.dead_letters.list(where=lambda letter: letter.event["n"] > 1)
        assert [letter.event["n"] for letter in letters] == [2]

    async def test_redrive(self, failing: Any) -> None:
        assert await failing.dead_letters.redrive(where=lambda letter: letter.event["n"] < 2) == 2
        assert await failing.drain(timeout=60)
        assert [letter.event["n"] for letter in await failing.dead_letters.list()] == [2]

    async def test_purge(self, failing: Any) -> None:
        assert await failing.dead_letters.purge(where=lambda letter: letter.event["n"] < 2) == 2
        assert [letter.event["n"] for letter in await failing.dead_letters.list()] == [2]


async def test_rearm_is_a_coroutine(any_bus: Any) -> None:
    token = any_bus.halt("drawdown")
    rearming = any_bus.rearm(token)
    assert inspect.iscoroutine(rearming)
    await rearming
    assert not any_bus.is_halted


async def test_rearm_with_another_token_is_refused_and_stays_halted(any_bus: Any) -> None:
    any_bus.halt("drawdown")
    rearming = any_bus.rearm("another")
    with pytest.raises(PolicyConflict, match="token"):
        await rearming
    assert any_bus.is_halted


@pytest.mark.parametrize("call", ["flush", "trim"])
def test_what_only_a_journal_can_do_is_refused_in_memory_at_the_call(call: str) -> None:
    bus: Any = InMemoryEventBus()
    with pytest.raises(PolicyConflict, match=r"journal|sqlite|replay|memory"):
        getattr(bus, call)()


@pytest.mark.parametrize("kind", KINDS[1:])
async def test_flush_returns_when_everything_is_durable_on_a_bus_over_a_journal(kind: str, tmp_path: Path) -> None:
    async with bus_of(kind, tmp_path) as bus:
        await bus.publish(Numbered(n=1))
        assert await bus.drain(timeout=60)
        await bus.flush()
        assert [event["n"] async for event in bus.replay()] == [1]


# --- back ends -------------------------------------------------------------------------------------------------------


@pytest.fixture
def backend() -> Iterator[str]:
    """A name that is free, before and after."""
    name = f"somebodys{len(eventbus.available_backends())}"
    yield name
    if name in eventbus.available_backends() and hasattr(face, "unregister_backend"):
        face.unregister_backend(name)


register: Any = register_backend


class TestBackends:
    """A plug-in brings a journal or a whole bus."""

    async def test_one_that_brings_a_bus(self, backend: str) -> None:
        register(backend, bus=lambda _settings: InMemoryEventBus(name="theirs"))
        assert create_event_bus(f"{backend}://").name == "theirs"

    async def test_one_that_brings_a_journal(self, backend: str, tmp_path: Path) -> None:
        from eventbus.journal.sqlite import SqliteJournal

        register(backend, journal=lambda _settings: SqliteJournal(tmp_path / "theirs.db"))
        async with create_event_bus(f"{backend}://") as bus:
            await bus.publish(Numbered(n=4))
            assert [event["n"] async for event in bus.replay()] == [4]

    def test_both_are_refused(self, backend: str) -> None:
        with pytest.raises((PolicyConflict, TypeError), match=r"exactly one|one of|both"):
            register(backend, bus=lambda _settings: InMemoryEventBus(), journal=lambda _settings: None)
        assert backend not in eventbus.available_backends()

    def test_neither_is_refused(self, backend: str) -> None:
        with pytest.raises((PolicyConflict, TypeError), match=r"exactly one|one of|neither"):
            register(backend)
        assert backend not in eventbus.available_backends()

    def test_a_factory_by_position_is_refused(self, backend: str) -> None:
        with pytest.raises(TypeError):
            register(backend, lambda _settings: InMemoryEventBus())

    @pytest.mark.parametrize("name", ["memory", "sqlite"])
    def test_a_built_in_name_is_taken(self, name: str) -> None:
        with pytest.raises(BackendTaken):
            register(name, bus=lambda _settings: InMemoryEventBus())

    def test_a_name_is_free_again_after_unregister_backend(self, backend: str) -> None:
        for _ in range(2):
            register(backend, bus=lambda _settings: InMemoryEventBus())
            face.unregister_backend(backend)
        assert backend not in eventbus.available_backends()

    @pytest.mark.parametrize("name", ["memory", "sqlite"])
    def test_a_built_in_one_stays(self, name: str) -> None:
        unregister = face.unregister_backend
        with pytest.raises(eventbus.UsageError, match=name):
            unregister(name)
        assert name in eventbus.available_backends()

    def test_an_unknown_one_is_refused(self) -> None:
        unregister = face.unregister_backend
        with pytest.raises(UnknownBackend, match="nobodys"):
            unregister("nobodys")


@pytest.mark.parametrize("name", ["true", "nan", "infinity"])
def test_a_text_in_a_url_stays_text(name: str) -> None:
    assert create_event_bus(f"memory://?name={name}").name == name


@pytest.mark.parametrize(
    "query", ["max_queue_size=ten", "max_queue_size=10.5", "grace=soon", "max_workers=true", "max_bytes=1e6x"]
)
def test_a_url_value_that_is_not_of_the_type_of_its_setting_is_refused_by_name(query: str) -> None:
    with pytest.raises(PolicyConflict) as refused:
        create_event_bus(f"memory://?{query}")
    assert refused.value.argument == query.partition("=")[0]


def test_numbers_in_a_url_are_numbers() -> None:
    bus = create_event_bus("memory://?max_queue_size=3")
    for _ in range(3):
        bus.publish_nowait("promise.filler")
    with pytest.raises(QueueFull):
        bus.publish_nowait("promise.filler")


# --- causes that are given -------------------------------------------------------------------------------------------


async def by_publish(bus: Any, event: Event, cause: Event) -> None:
    await bus.publish(event, cause=cause)


async def by_publish_nowait(bus: Any, event: Event, cause: Event) -> None:
    bus.publish_nowait(event, cause=cause)


async def by_publish_and_wait(bus: Any, event: Event, cause: Event) -> None:
    assert await bus.publish_and_wait(event, cause=cause) == []


async def by_request(bus: Any, event: Event, cause: Event) -> None:
    assert await bus.request(event, cause=cause) == "answered"


async def answer(_event: Event) -> str:
    return "answered"


@pytest.mark.virtual_time
@pytest.mark.parametrize("publish", [by_publish, by_publish_nowait, by_publish_and_wait, by_request])
class TestCause:
    """`cause=event` says what led to it where no handler runs."""

    async def test_it_is_the_cause_and_gives_its_correlation(self, event_bus: InMemoryEventBus, publish: Any) -> None:
        event_bus.subscribe(Numbered, answer)
        cause, effect = Event("promise.cause", correlation_id="desk-7"), Numbered(n=1)
        await publish(event_bus, effect, cause)
        assert (effect.causation_id, effect.correlation_id) == (cause.event_id, "desk-7")

    async def test_it_wins_over_the_event_whose_handler_publishes(
        self, event_bus: InMemoryEventBus, publish: Any
    ) -> None:
        cause, effect, done = Event("promise.cause"), Numbered(n=1), asyncio.Event()

        async def handle(_event: Event) -> None:
            await publish(event_bus, effect, cause)
            done.set()

        event_bus.subscribe("promise.outer", handle)
        event_bus.subscribe(Numbered, answer)
        await event_bus.publish("promise.outer")
        async with asyncio.timeout(60):
            await done.wait()
        assert effect.causation_id == cause.event_id

    async def test_a_chain_of_given_causes_is_as_long_as_the_hop_limit(
        self, event_bus: InMemoryEventBus, publish: Any
    ) -> None:
        event_bus.subscribe(Numbered, answer)
        last = Numbered(n=0)
        await event_bus.publish(last)
        for n in range(1, 33):
            event = Numbered(n=n)
            await publish(event_bus, event, last)
            last = event
        assert await event_bus.drain(timeout=60)
        with pytest.raises(HopLimit):
            await publish(event_bus, Numbered(n=33), last)

    async def test_the_hops_of_the_handler_count_where_they_are_more(
        self, event_bus: InMemoryEventBus, publish: Any
    ) -> None:
        fresh, refused, bus = Event("promise.cause"), list[int](), typing.cast(Any, event_bus)

        async def go_on(event: Numbered) -> str:
            try:
                await bus.publish(Renumbered(n=event.n + 1), cause=fresh)
            except HopLimit:
                refused.append(event.n)
            return "answered"

        event_bus.subscribe(Numbered, go_on)
        await publish(event_bus, Numbered(n=0), fresh)
        assert await event_bus.drain(timeout=60)
        assert refused == [31]  # n=0 is hop 1 from its given cause, n=31 is hop 32

    async def test_ad_hoc_events_may_have_one(self, event_bus: InMemoryEventBus, publish: Any) -> None:
        event_bus.subscribe("promise.adhoc", answer)
        cause, effect = Numbered(), Event("promise.adhoc", payload={"n": 1})
        await publish(event_bus, effect, cause)
        assert effect.causation_id == cause.event_id


async def test_explain_follows_a_given_cause(any_bus: Any) -> None:
    cause = Numbered(n=1)
    await any_bus.publish(cause)
    receipt = await any_bus.publish("promise.effect", cause=cause)
    await any_bus.drain(timeout=60)
    explanation = await any_bus.explain(receipt.event_id)
    assert [event.event_id for event in explanation.ancestors] == [cause.event_id]


# --- taps ------------------------------------------------------------------------------------------------------------


@pytest.mark.virtual_time
class TestTap:
    """Whole bursts in the order of dispatch, without being a subscription."""

    @pytest.fixture
    def bus(self, event_bus: InMemoryEventBus) -> Any:
        return event_bus

    async def test_it_sees_everything_in_order_of_dispatch(self, bus: Any) -> None:
        seen: list[Any] = []
        bus.tap(lambda events, _offset: seen.extend(events))
        for n in range(50):
            await bus.publish(Numbered(n=n) if n % 3 else Renumbered(n=n))
        assert await bus.drain(timeout=60)
        assert [event.n for event in seen] == list(range(50))

    async def test_control_that_overtakes_is_seen_first(self, bus: Any) -> None:
        seen: list[str] = []
        bus.tap(lambda events, _offset: seen.extend(event.type for event in events))
        bus.publish_nowait(Numbered())
        bus.publish_nowait(Stopped())
        assert await bus.drain(timeout=60)
        assert seen == ["promise.stopped", "promise.numbered"]

    async def test_events_that_came_in_a_row_are_seen_together(self, bus: Any) -> None:
        sizes: list[int] = []
        bus.tap(lambda events, _offset: sizes.append(len(events)))
        for n in range(50):
            await bus.publish(Numbered(n=n))
        assert await bus.drain(timeout=60)
        assert sum(sizes) == 50
        assert len(sizes) < 10

    async def test_in_memory_there_is_no_offset(self, bus: Any) -> None:
        offsets: list[int | None] = []
        bus.tap(lambda _events, offset: offsets.append(offset))
        await bus.publish(Numbered())
        assert await bus.drain(timeout=60)
        assert offsets == [None]

    async def test_it_is_no_delivery_and_has_no_outcome(self, bus: Any) -> None:
        bus.tap(lambda _events, _offset: None)
        receipt = await bus.publish(Numbered())
        assert await receipt == ()
        assert bus.get_stats()["total_handlers"] == 0
        assert bus.stats().succeeded == 0

    async def test_what_a_handler_publishes_is_seen_too(self, bus: Any) -> None:
        seen: list[str] = []

        async def publish(_event: Event) -> None:
            await bus.publish("promise.effect")

        bus.subscribe(Numbered, publish)
        bus.tap(lambda events, _offset: seen.extend(event.type for event in events))
        await bus.publish(Numbered())
        assert await bus.drain(timeout=60)
        assert seen == ["promise.numbered", "promise.effect"]

    async def test_publish_and_wait_is_seen_too(self, bus: Any) -> None:
        seen: list[Any] = []
        bus.subscribe(Numbered, ignore)
        bus.tap(lambda events, _offset: seen.extend(events))
        await bus.publish_and_wait(Numbered(n=3))
        assert [event.n for event in seen] == [3]

    async def test_after_its_cancel_it_sees_nothing(self, bus: Any) -> None:
        seen: list[Any] = []
        tap = bus.tap(lambda events, _offset: seen.extend(events))
        await bus.publish(Numbered(n=1))
        assert await bus.drain(timeout=60)
        tap.cancel()
        tap.cancel()
        await bus.publish(Numbered(n=2))
        assert await bus.drain(timeout=60)
        assert [event.n for event in seen] == [1]

    async def test_one_that_raises_disturbs_nobody_and_is_logged(
        self, bus: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        heard, seen = Recorder(), list[Any]()

        def broken(_events: Sequence[Event], _offset: int | None) -> None:
            raise ValueError("tap is broken")

        bus.subscribe(Numbered, heard)
        bus.tap(broken)
        bus.tap(lambda events, _offset: seen.extend(events))
        await bus.publish(Numbered(n=1))
        assert await bus.drain(timeout=60)
        assert heard.values("n") == [event.n for event in seen] == [1]
        assert "tap" in caplog.text
        assert any(record.levelno >= logging.WARNING for record in caplog.records)

    async def test_one_that_raises_ten_times_in_a_row_is_removed(self, bus: Any) -> None:
        calls: list[int] = []

        def broken(_events: Sequence[Event], _offset: int | None) -> None:
            calls.append(1)
            raise ValueError("broken")

        bus.tap(broken)
        for n in range(15):
            await bus.publish(Numbered(n=n))
            assert await bus.drain(timeout=60)
        assert len(calls) == 10

    async def test_one_that_raises_now_and_then_stays(self, bus: Any) -> None:
        calls: list[int] = []

        def flaky(_events: Sequence[Event], _offset: int | None) -> None:
            calls.append(1)
            if len(calls) % 10:
                raise ValueError("broken")

        bus.tap(flaky)
        for n in range(35):
            await bus.publish(Numbered(n=n))
            assert await bus.drain(timeout=60)
        assert len(calls) == 35


async def test_a_tap_over_a_journal_gets_the_offset_of_the_first_of_each_burst(tmp_path: Path) -> None:
    places: dict[str, int] = {}
    async with bus_of("sqlite", tmp_path) as bus:

        def note(events: Sequence[Event], offset: int) -> None:
            places.update({event.event_id: offset + index for index, event in enumerate(events)})

        bus.tap(note)
        receipts = [await bus.publish(Numbered(n=n)) for n in range(3)]
        receipts += await bus.publish_many([Numbered(n=n) for n in range(20)])
        assert await bus.drain(timeout=60)
    assert places == {receipt.event_id: receipt.offset for receipt in receipts}


# --- an event as plain JSON ------------------------------------------------------------------------------------------


def to_json(event: Any) -> str:
    return str(event.to_json())


def from_json(text: str, cls: Any = Event) -> Any:
    return cls.from_json(text)


def nested(depth: int) -> dict[str, Any]:
    """A payload so many containers deep."""
    inner: dict[str, Any] = {}
    for _ in range(depth - 1):
        inner = {"d": inner}
    return inner


class TestJson:
    """`event.to_json()` and `Event.from_json(text)`."""

    @pytest.mark.parametrize(
        "event",
        [
            Numbered(n=3, metadata={"desk": 1}),
            Event("promise.adhoc", payload={"n": 1, "deep": {"er": [1, 2.5, None, "ü", True]}}),
            Wide(data={"list": [1, 2]}),
        ],
        ids=lambda event: event.type,
    )
    def test_there_and_back(self, event: Event) -> None:
        again = from_json(to_json(event))
        assert again == event
        assert type(again) is type(event)

    def test_it_is_text_with_the_type_inside(self) -> None:
        import json

        fields = json.loads(to_json(Numbered(n=3)))
        assert fields["type"] == "promise.numbered"

    def test_an_unknown_type_is_an_ad_hoc_event(self) -> None:
        text = to_json(Numbered(n=3)).replace("promise.numbered", "promise.never.seen")
        event = from_json(text)
        assert event.type == "promise.never.seen"
        assert event["n"] == 3
        assert event.payload == {"n": 3}

    def test_a_subclass_reads_its_own(self) -> None:
        assert from_json(to_json(Renumbered(n=3)), Renumbered).n == 3

    def test_a_base_class_reads_what_is_of_it(self) -> None:
        assert type(from_json(to_json(Renumbered(n=3)), Numbered)) is Renumbered

    @pytest.mark.parametrize("event", [Stopped(), Event("promise.adhoc", payload={"n": 1})], ids=["typed", "ad-hoc"])
    def test_a_class_reads_no_other_type(self, event: Event) -> None:
        text = to_json(event)
        with pytest.raises(CodecError, match=event.type):
            from_json(text, Numbered)

    @pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"type": 5}', '{"type":', "\ud800", "[" * 100_000])
    def test_what_is_no_event_is_refused(self, text: str) -> None:
        read = face.Event.from_json
        with pytest.raises(CodecError):
            read(text)


class TestLimitsOfTheCodec:
    """Depth 100, numbers of 1,000 digits, 8 MiB an event."""

    def test_a_payload_of_ninety_levels_is_written_and_read(self) -> None:
        event = Event("promise.deep", payload=nested(90))
        assert from_json(to_json(event)) == event

    def test_a_payload_of_a_hundred_and_ten_levels_is_refused_with_its_path(self) -> None:
        write = face.Event.to_json
        with pytest.raises(CodecError, match=r"d\.d\.d"):
            write(Event("promise.deep", payload=nested(110)))

    def test_text_of_a_hundred_and_ten_levels_is_refused(self) -> None:
        text = to_json(Event("promise.deep", payload={"here": 1})).replace(
            '{"here":1}', '{"d":' * 109 + "{}" + "}" * 109
        )
        assert '"d"' in text
        with pytest.raises(CodecError):
            from_json(text)

    def test_a_number_of_a_thousand_digits_is_written_and_read(self) -> None:
        event = Event("promise.long", payload={"n": 10**999})
        assert from_json(to_json(event))["n"] == 10**999

    @pytest.mark.parametrize("number", [10**1000, -(10**1000)], ids=["positive", "negative"])
    def test_a_longer_number_is_refused_with_its_path(self, number: int) -> None:
        write = face.Event.to_json
        with pytest.raises(CodecError, match=r"\bn\b"):
            write(Event("promise.long", payload={"n": number}))

    def test_text_with_a_longer_number_is_refused(self) -> None:
        text = to_json(Event("promise.long", payload={"n": 123454321}))
        with pytest.raises(CodecError):
            from_json(text.replace("123454321", "9" * 1001))

    def test_an_event_of_seven_mebibytes_is_written_and_read(self) -> None:
        event = Event("promise.big", payload={"text": "x" * 7 * 2**20})
        assert from_json(to_json(event)) == event

    def test_an_event_of_nine_mebibytes_is_refused(self) -> None:
        write, event = face.Event.to_json, Event("promise.big", payload={"text": "x" * 9 * 2**20})
        with pytest.raises(CodecError):
            write(event)

    def test_text_of_nine_mebibytes_is_refused(self) -> None:
        text = to_json(Event("promise.big", payload={"text": "here"}))
        with pytest.raises(CodecError):
            from_json(text.replace("here", "x" * 9 * 2**20))


@pytest.mark.parametrize("kind", KINDS[1:])
async def test_an_event_beyond_the_limits_is_refused_at_publish_on_a_bus_over_a_journal(
    kind: str, tmp_path: Path
) -> None:
    async with bus_of(kind, tmp_path) as bus:
        with pytest.raises(CodecError):
            await bus.publish(Event("promise.big", payload={"text": "x" * 9 * 2**20}))
        assert bus.stats().published == 0
        assert [event async for event in bus.replay()] == []


# --- the face --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "EventBus",
        "PolicyOptions",
        "ReentrantPublish",
        "Request",
        "WrongProcess",
        "default_bus",
        "open_reader",
        "unregister_backend",
    ],
)
def test_the_face_has_what_is_new(name: str) -> None:
    assert name in face.__all__
    assert getattr(face, name)


@pytest.mark.parametrize("name", ["JournaledEventBus", "TrailingEventBus"])
def test_the_face_has_one_concrete_bus(name: str) -> None:
    assert name not in face.__all__
    assert not hasattr(face, name)


def test_a_request_is_an_event_that_names_its_answer() -> None:
    ask = types.new_class("Ask", (face.Request[int],), {"type": "promise.ask"})
    assert isinstance(ask(), Event)
    assert ask().type == "promise.ask"
    assert ask().payload == {}
