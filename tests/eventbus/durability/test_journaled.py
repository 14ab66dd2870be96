"""The bus over a journal, in one file on disk: what a receipt means, and what is refused leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from eventbus import (
    BusNotRunning,
    BusStopped,
    CodecError,
    Event,
    EventBus,
    Halted,
    IdConflict,
    InMemoryEventBus,
    JournalInUse,
    JournalUnavailable,
    Kind,
    OffsetGone,
    OutcomeUnknown,
    PolicyConflict,
    create_event_bus,
)
from eventbus.durability.journaled import Journaled
from eventbus.journal.protocol import Journal
from eventbus.journal.sqlite import SqliteJournal, SqliteReader
from eventbus.journal.values import Append, Appended
from eventbus.testing.recorder import Recorder


class FillEvent(Event, type="test.journaled.fill", kind=Kind.EXECUTION, key="order_id"):
    """Money moved."""

    order_id: str
    size: Decimal = Decimal(1)


class PriceEvent(Event, type="test.journaled.price", kind=Kind.QUOTE, key="symbol"):
    """A value that the next one replaces."""

    symbol: str
    price: Decimal


class PolicyEvent(Event, type="test.journaled.policy", kind=Kind.CONTROL, retain=True, key="desk"):
    """The last one counts."""

    desk: str
    limit: int


class MoodyJournal(SqliteJournal):
    """A journal whose disk fails when told to, before or after the work is done."""

    refuses = False
    forgets_to_answer = False

    def append(self, batch: Sequence[Append]) -> Awaitable[Sequence[Appended]]:
        if self.refuses:
            return self._fail(JournalUnavailable("run.db", "the disk is full"))
        if self.forgets_to_answer:
            return self._append_and_fail(batch)
        return super().append(batch)

    async def _fail(self, error: Exception) -> list[Appended]:
        raise error

    async def _append_and_fail(self, batch: Sequence[Append]) -> list[Appended]:
        await super().append(batch)
        raise OutcomeUnknown(batch[0].event_id, "the connection broke")


def over(journal: Journal, **settings: Any) -> InMemoryEventBus:
    """A bus over a journal of its own kind."""
    kept = {name: settings.pop(name) for name in ("journal_quotes", "retention", "behind") if name in settings}
    return InMemoryEventBus(store=Journaled(journal, **kept), **settings)


@pytest.fixture
def journal(tmp_path: Path) -> SqliteJournal:
    return SqliteJournal(tmp_path / "run.db")


@pytest.fixture
async def bus(journal: SqliteJournal) -> AsyncIterator[InMemoryEventBus]:
    bus = over(journal, seed=1)
    yield bus
    await bus.shutdown(timeout=60)


@pytest.fixture
async def moody(tmp_path: Path) -> AsyncIterator[tuple[InMemoryEventBus, MoodyJournal]]:
    journal = MoodyJournal(tmp_path / "run.db")
    bus = over(journal)
    yield bus, journal
    journal.refuses = journal.forgets_to_answer = False
    await bus.shutdown(timeout=60)


async def numbers(bus: EventBus) -> list[int]:
    return [event["n"] async for event in bus.replay(types="t.*")]


def event(number: int, type_: str = "t.x") -> Event:
    return Event(type_, payload={"n": number})


# --- receipts ------------------------------------------------------------------------------------------------------


async def test_a_receipt_names_offset_and_durability(bus: InMemoryEventBus) -> None:
    first, second = await bus.publish(event(1)), await bus.publish(event(2))
    assert (first.offset, second.offset) == (1, 2)
    assert first.durability == "power_loss"


async def test_a_weaker_journal_says_so_in_the_receipt(tmp_path: Path) -> None:
    async with create_event_bus(f"sqlite:///{tmp_path}/run.db?synchronous=normal") as bus:
        assert (await bus.publish(event(1))).durability == "process_crash"


async def test_an_event_is_committed_before_it_is_dispatched(bus: InMemoryEventBus, tmp_path: Path) -> None:
    seen: list[bool] = []

    async def look(handled: Event) -> None:
        with SqliteReader(tmp_path / "run.db") as reader:
            seen.append(reader.find(handled.event_id) is not None)

    bus.subscribe("t.*", look)
    async with bus:
        await bus.publish_many([event(n) for n in range(20)])
        bus.publish_nowait(event(20))
        await bus.drain(60)
    assert seen == [True] * 21


async def test_acknowledged_events_can_be_read_by_another_process_at_once(
    bus: InMemoryEventBus, tmp_path: Path
) -> None:
    receipt = await bus.publish(event(1))
    with SqliteReader(tmp_path / "run.db") as reader:
        record = reader.find(receipt.event_id)
    assert record is not None
    assert record.offset == receipt.offset


async def test_a_receipt_awaited_gives_the_outcomes_of_every_subscription(bus: InMemoryEventBus) -> None:
    async def answer(_event: Event) -> int:
        return 7

    bus.subscribe("t.*", answer, name="memory")
    bus.subscribe("t.*", answer, name="durable", durable=True)
    async with bus:
        outcomes = await (await bus.publish(event(1)))
        assert {(outcome.subscription, outcome.result) for outcome in outcomes} == {("memory", 7), ("durable", 7)}


async def test_outcomes_of_events_published_before_the_bus_ran_are_not_lost(bus: InMemoryEventBus) -> None:
    recorder = Recorder()
    bus.subscribe("t.*", recorder, name="durable", durable=True)
    receipts = [await bus.publish(event(n)) for n in range(300)]
    async with bus, asyncio.timeout(60):
        outcomes = [await receipt for receipt in receipts]
    assert [len(each) for each in outcomes] == [1] * 300
    assert recorder.values("n") == list(range(300))


async def test_publish_many_keeps_order_and_gives_each_its_own_offset(bus: InMemoryEventBus) -> None:
    mixed = [event(n, f"t.{n % 3}") if n % 7 else FillEvent(order_id=str(n)) for n in range(1_200)]
    recorder = Recorder()
    bus.subscribe("*", recorder)
    async with bus:
        receipts = await bus.publish_many(mixed)
        await bus.drain(60)
    assert [receipt.offset for receipt in receipts] == list(range(1, 1_201))
    assert [receipt.event_id for receipt in receipts] == [each.event_id for each in mixed]
    assert recorder.events == mixed


async def test_publish_many_is_few_commits(bus: InMemoryEventBus, journal: SqliteJournal) -> None:
    await bus.publish(event(0))
    before = journal.stats().commits
    await bus.publish_many([event(n) for n in range(1, 500)])
    assert journal.stats().commits - before <= 2


async def test_publish_many_waits_at_a_full_door(tmp_path: Path) -> None:
    bus = over(SqliteJournal(tmp_path / "run.db"), max_queue_size=10)
    recorder = Recorder()
    bus.subscribe("t.*", recorder)
    async with bus, asyncio.timeout(60):
        await bus.publish_many([event(n) for n in range(200)])
        await bus.drain(60)
    assert recorder.values("n") == list(range(200))


async def test_publish_nowait_is_dispatched_after_its_commit_and_needs_an_open_journal(bus: InMemoryEventBus) -> None:
    with pytest.raises(BusNotRunning):
        bus.publish_nowait(event(0))
    recorder = Recorder()
    bus.subscribe("t.*", recorder)
    async with bus:
        receipt = bus.publish_nowait(event(1))
        assert receipt.offset is None
        await receipt
        assert receipt.offset == 1
    assert recorder.values("n") == [1]


async def test_a_thread_gets_its_receipt_when_it_is_durable(bus: InMemoryEventBus) -> None:
    offsets: list[int | None] = []
    async with bus:
        thread = threading.Thread(
            target=lambda: offsets.append(bus.publish_threadsafe(event(1)).result(timeout=60).offset)
        )
        thread.start()
        await asyncio.to_thread(thread.join)
    assert offsets == [1]


async def test_a_handler_publishes_and_waits_for_durability_without_stopping_the_bus(bus: InMemoryEventBus) -> None:
    offsets: list[int | None] = []

    async def cascade(cause: Event) -> None:
        if cause["n"]:
            offsets.append((await bus.publish(event(cause["n"] - 1))).offset)

    bus.subscribe("t.*", cascade)
    async with bus:
        await bus.publish(event(5))
        assert await bus.drain(60)
    assert offsets == [2, 3, 4, 5, 6]


async def test_quotes_stay_out_of_the_journal_when_told_so(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "run.db")
    bus = over(journal, journal_quotes=False)
    recorder = Recorder()
    bus.subscribe(PriceEvent, recorder)
    async with bus:
        receipt = await bus.publish(PriceEvent(symbol="AAPL", price=Decimal(1)))
        assert (receipt.offset, receipt.durability) == (None, "memory")
        many = [PriceEvent(symbol=str(n), price=Decimal(1)) for n in range(20)]
        assert {each.offset for each in await bus.publish_many(many)} == {None}
        await bus.publish(event(1))
        await bus.drain(60)
        assert await numbers(bus) == [1]
        assert journal.last == 1
    assert len(recorder) == 21


# --- once ----------------------------------------------------------------------------------------------------------


async def test_an_event_published_again_is_accepted_once(bus: InMemoryEventBus) -> None:
    recorder = Recorder()
    bus.subscribe("t.*", recorder)
    async with bus:
        first = event(1)
        receipts = [await bus.publish(first), await bus.publish(first), *await bus.publish_many([first, event(2)])]
        assert await bus.drain(60)
        assert [receipt.offset for receipt in receipts] == [1, 1, 1, 2]
        assert bus.get_stats()["published"] == 2
    assert recorder.values("n") == [1, 2]


async def test_an_event_twice_in_one_batch_is_accepted_once(bus: InMemoryEventBus) -> None:
    recorder = Recorder()
    bus.subscribe("t.*", recorder)
    async with bus:
        twice = event(2)
        receipts = await bus.publish_many([event(1), twice, twice, event(3)])
        assert await bus.drain(60)
    assert [receipt.offset for receipt in receipts] == [1, 2, 2, 3]
    assert recorder.values("n") == [1, 2, 3]


async def test_publishing_again_after_a_restart_is_a_duplicate_too(tmp_path: Path) -> None:
    once = event(1)
    for _ in range(2):
        async with create_event_bus(f"sqlite:///{tmp_path}/run.db") as bus:
            assert (await bus.publish(once)).offset == 1


@pytest.mark.parametrize("together", [True, False])
async def test_a_conflicting_id_is_refused_and_its_neighbours_are_unharmed(
    bus: InMemoryEventBus, together: bool
) -> None:
    recorder = Recorder()
    bus.subscribe("t.*", recorder)
    async with bus:
        first = await bus.publish(event(0))
        batch = [event(1), Event("t.x", payload={"n": 99}, event_id=first.event_id), event(2)]
        if together:
            with pytest.raises(IdConflict):
                await bus.publish_many(batch)
        else:
            results = await asyncio.gather(*map(bus.publish, batch), return_exceptions=True)
            assert [isinstance(result, IdConflict) for result in results] == [False, True, False]
        assert await bus.drain(60)
        assert await numbers(bus) == [0, 1, 2]
        assert bus.get_stats()["published"] == 3
        assert bus.get_stats()["pending"] == 0
    assert recorder.values("n") == [0, 1, 2]


@pytest.mark.parametrize("many", [False, True])
async def test_cancelled_at_any_tick_and_published_again_is_one_acceptance(tmp_path: Path, many: bool) -> None:
    bus = over(SqliteJournal(tmp_path / "run.db"), max_queue_size=4)
    recorder = Recorder()
    bus.subscribe("t.*", recorder)
    async with bus, asyncio.timeout(60):
        cancelled = 0
        for tick in range(60):
            batch = [event(tick)] if not many else [event(tick), event(tick + 1_000)]
            publishing = asyncio.ensure_future(bus.publish_many(batch))
            for _ in range(tick):
                await asyncio.sleep(0)
            cancelled += publishing.cancel()
            await asyncio.wait([publishing])
            await bus.publish_many(batch)
        assert await bus.drain(60)
        expected = sorted(n for tick in range(60) for n in ((tick, tick + 1_000) if many else (tick,)))
        assert sorted(await numbers(bus)) == expected
    assert sorted(recorder.values("n")) == expected
    assert cancelled


async def test_after_an_unknown_outcome_the_same_event_settles_it(
    moody: tuple[InMemoryEventBus, MoodyJournal],
) -> None:
    bus, journal = moody
    recorder = Recorder()
    bus.subscribe("t.*", recorder)
    async with bus:
        journal.forgets_to_answer = True
        with pytest.raises(OutcomeUnknown):
            await bus.publish(lost := event(1))
        journal.forgets_to_answer = False
        assert (await bus.publish(lost)).offset == 1
        assert (await bus.publish(lost)).offset == 1
        assert await bus.drain(60)
        assert await numbers(bus) == [1]
    assert recorder.values("n") == [1]


async def test_new_events_beside_a_duplicate_leave_a_sound_journal(bus: InMemoryEventBus, tmp_path: Path) -> None:
    first = event(0)
    await bus.publish(first)
    await asyncio.gather(*map(bus.publish, [event(1), first, event(2)]), bus.publish_many([event(3), first, event(4)]))
    await bus.shutdown()
    async with SqliteJournal(tmp_path / "run.db") as journal:
        assert (await journal.verify()).records == 5


async def test_a_url_says_what_is_kept_and_how_long(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/run.db?journal_quotes=false&allow_damaged=False"
    async with create_event_bus(url) as bus:
        with pytest.raises(PolicyConflict, match="journal_quotes"):
            bus.subscribe(PriceEvent, print, durable=True)
        await bus.publish(Event("t.x", payload={"n": 1}, timestamp=datetime(2020, 1, 1, tzinfo=UTC)))
        await bus.publish(event(2))
        assert await numbers(bus) == [1, 2]
    async with create_event_bus(f"{url}&retention_s=60&retention_bytes=5e9") as bus, asyncio.timeout(60):
        kept = [1, 2]
        while kept != [2]:
            with contextlib.suppress(OffsetGone):  # retention came between a replay's first look and its first page
                kept = await numbers(bus)


# --- refused -------------------------------------------------------------------------------------------------------


class SlowToRefuse(MoodyJournal):
    """It takes its time for that."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.may_refuse = asyncio.Event()

    async def _fail(self, error: Exception) -> list[Appended]:
        await self.may_refuse.wait()
        raise error


async def test_who_waits_for_a_place_in_a_queue_is_let_in_when_the_journal_refuses_what_had_it(tmp_path: Path) -> None:
    journal, recorder = SlowToRefuse(tmp_path / "run.db"), Recorder()
    bus = over(journal)
    bus.subscribe("*", recorder, queue_size=1)
    async with bus, asyncio.timeout(60):
        journal.refuses = True
        refused = asyncio.create_task(bus.publish(event(0)))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(bus.publish(event(1)))
        for _ in range(5):
            await journal.read(0, 1)
        assert not waiting.done()
        journal.refuses = False
        journal.may_refuse.set()
        with pytest.raises(JournalUnavailable):
            await refused
        await waiting
        await bus.drain()
    assert recorder.values("n") == [1]


async def test_a_failing_journal_accepts_nothing_and_the_bus_lives(
    moody: tuple[InMemoryEventBus, MoodyJournal],
) -> None:
    bus, journal = moody
    recorder = Recorder()
    bus.subscribe("*", recorder, queue_size=3)
    async with bus, asyncio.timeout(60):
        journal.refuses = True
        for _ in range(5):
            with pytest.raises(JournalUnavailable):
                await bus.publish(event(0))
        with pytest.raises(JournalUnavailable):
            await bus.publish(PolicyEvent(desk="a", limit=1))
        failed = bus.publish_nowait(event(0))
        with pytest.raises(JournalUnavailable):
            await failed
        with pytest.raises(JournalUnavailable):
            await failed
        assert bus.last(PolicyEvent) is None
        assert await bus.drain(60)
        journal.refuses = False
        for n in range(5):
            await bus.publish(event(n))
        assert await bus.drain(60)
        stats = bus.get_stats()
    assert recorder.values("n") == list(range(5))
    assert (stats["published"], stats["pending"]) == (5, 0)


async def test_nowait_that_failed_unwatched_raises_when_it_is_asked_later(
    moody: tuple[InMemoryEventBus, MoodyJournal],
) -> None:
    bus, journal = moody
    async with bus:
        journal.refuses = True
        receipt = bus.publish_nowait(event(0))
        assert await bus.drain(60)
        with pytest.raises(JournalUnavailable):
            await receipt


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), {1: 2}, object()], ids=["nan", "inf", "{1: 2}", "object"])
async def test_what_cannot_be_written_is_refused_before_acceptance(bus: InMemoryEventBus, bad: object) -> None:
    recorder = Recorder()
    bus.subscribe("t.*", recorder)
    async with bus:
        with pytest.raises(CodecError):
            await bus.publish("t.x", {"n": bad})
        with pytest.raises(CodecError):
            await bus.publish_many([event(1), Event("t.x", payload={"n": bad}), event(2)])
        assert await bus.drain(60)
        assert await numbers(bus) == [1]
    assert recorder.values("n") == [1]


async def test_a_second_bus_on_the_file_is_refused_and_may_try_again(bus: InMemoryEventBus, tmp_path: Path) -> None:
    await bus.publish(event(1))
    second = over(SqliteJournal(tmp_path / "run.db"))
    for _ in range(2):
        with pytest.raises(JournalInUse):
            await second.publish(event(2))
    assert (await bus.publish(event(3))).offset == 2
    await bus.shutdown()
    async with second:
        assert (await second.publish(event(4))).offset == 3
        assert await numbers(second) == [1, 3, 4]


async def test_a_file_that_is_no_journal_is_refused_at_connect(tmp_path: Path) -> None:
    (tmp_path / "run.db").write_bytes(b"this is no journal" * 100)
    with pytest.raises(JournalUnavailable, match="no journal"):
        await over(SqliteJournal(tmp_path / "run.db")).connect()


# --- ends and restarts ---------------------------------------------------------------------------------------------


async def test_a_bus_that_was_shut_down_refuses_and_lets_go_of_the_file(bus: InMemoryEventBus, tmp_path: Path) -> None:
    async with bus:
        await bus.publish(event(1))
    with pytest.raises(BusStopped):
        await bus.publish(event(2))
    async with SqliteJournal(tmp_path / "run.db") as journal:
        assert journal.last == 1


async def test_shutdown_writes_down_what_was_accepted_without_waiting(tmp_path: Path) -> None:
    bus = over(SqliteJournal(tmp_path / "run.db"))
    await bus.connect()
    for n in range(100):
        bus.publish_nowait(event(n))
    report = await bus.shutdown(timeout=60)
    assert report.drained
    async with SqliteJournal(tmp_path / "run.db") as journal:
        assert journal.last == 100


async def test_stop_and_run_again_goes_on_where_it_was(bus: InMemoryEventBus) -> None:
    memory, kept = Recorder(), Recorder()
    bus.subscribe("t.*", memory)
    bus.subscribe("t.*", kept, durable=True, name="kept")
    for round_ in range(5):
        running = asyncio.create_task(bus.run_forever())
        await bus.publish_many([event(round_ * 10 + n) for n in range(10)])
        if round_ % 2:
            await bus.drain(60)
        bus.stop()
        await running
    async with bus:
        assert await bus.drain(60)
    assert memory.values("n") == list(range(50))
    assert kept.values("n") == list(range(50))


@pytest.mark.parametrize("ticks", [0, 1, 2, 5])
async def test_stopped_before_it_runs_or_while_the_journal_opens_is_stopped(bus: InMemoryEventBus, ticks: int) -> None:
    for _ in range(2):
        running = asyncio.create_task(bus.run_forever())
        for _tick in range(ticks):
            await asyncio.sleep(0)
        bus.stop()
        async with asyncio.timeout(60):
            await running
    assert not bus.is_running


async def test_a_bus_shut_down_before_it_opened_its_journal_never_opens_it(tmp_path: Path) -> None:
    bus = create_event_bus(f"sqlite:///{tmp_path}/run.db")
    await bus.shutdown()
    for call in (bus.run_forever, lambda: bus.publish(event(1)), bus.connect):
        with pytest.raises(BusStopped):
            await call()
    assert not (tmp_path / "run.db").exists()


async def test_the_halt_survives_a_restart_until_it_is_rearmed(tmp_path: Path) -> None:
    async with create_event_bus(f"sqlite:///{tmp_path}/run.db") as bus:
        token = bus.halt("drawdown")
    async with create_event_bus(f"sqlite:///{tmp_path}/run.db") as bus:
        assert bus.halt_reason == "drawdown"
        with pytest.raises(Halted):
            await bus.publish(FillEvent(order_id="1"))
        with pytest.raises(PolicyConflict):
            await bus.rearm("wrong")
        await bus.rearm(token)
        await bus.publish(FillEvent(order_id="1"))
    async with create_event_bus(f"sqlite:///{tmp_path}/run.db") as bus:
        assert not bus.is_halted


async def test_a_halt_from_a_thread_or_before_the_start_survives_too(tmp_path: Path) -> None:
    bus = create_event_bus(f"sqlite:///{tmp_path}/a.db")
    bus.halt("early")
    await bus.connect()
    await bus.shutdown()
    async with create_event_bus(f"sqlite:///{tmp_path}/b.db") as bus:
        bus.subscribe("t.*", lambda _event: bus.halt("from a thread"))
        await bus.publish(event(1))
        await bus.drain(60)
    for name, reason in (("a", "early"), ("b", "from a thread")):
        async with create_event_bus(f"sqlite:///{tmp_path}/{name}.db") as bus:
            assert bus.halt_reason == reason


def limit_of(bus: EventBus, desk: str) -> int:
    policy = bus.last(PolicyEvent, desk)
    assert policy is not None
    return policy.limit


async def test_retained_events_survive_a_restart_by_key(tmp_path: Path) -> None:
    async with create_event_bus(f"sqlite:///{tmp_path}/run.db") as bus:
        await bus.publish_many([PolicyEvent(desk=desk, limit=limit) for limit in (1, 2) for desk in "ab"])
        assert limit_of(bus, "a") == 2
    bus = create_event_bus(f"sqlite:///{tmp_path}/run.db")
    early, late = Recorder(), Recorder()
    bus.subscribe(PolicyEvent, early, replay_last=True)
    async with bus:
        assert (limit_of(bus, "a"), limit_of(bus, "b")) == (2, 2)
        bus.subscribe(PolicyEvent, late, replay_last=True)
        await bus.drain(60)
    assert sorted(early.values("desk")) == sorted(late.values("desk")) == ["a", "b"]


async def test_dead_letters_survive_a_restart_and_can_be_driven_again(tmp_path: Path) -> None:
    def fail(_event: Event) -> None:
        raise OSError("no route")

    for name, durable in (("memory", False), ("durable", True)):
        path = tmp_path / f"{name}.db"
        async with create_event_bus(f"sqlite:///{path}") as bus:
            bus.subscribe("t.*", fail, name="ledger", durable=durable)
            await bus.publish(event(1))
            await bus.publish(event(2))
            assert await bus.drain(60)
            assert bus.dead_letters.count() == 2
        recorder = Recorder()
        async with create_event_bus(f"sqlite:///{path}") as bus:
            letter = next(iter(bus.dead_letters))
            assert (letter.event["n"], letter.subscription, letter.attempts) == (1, "ledger", 1)
            assert "no route" in letter.error
            bus.subscribe("t.*", recorder, name="ledger", durable=durable)
            assert await bus.dead_letters.redrive(lambda letter: letter.event["n"] == 1) == 1
            assert await bus.drain(60)
        assert recorder.values("n") == [1]
        async with create_event_bus(f"sqlite:///{path}") as bus:
            assert [letter.event["n"] for letter in bus.dead_letters] == [2]
            await bus.dead_letters.purge()
        async with create_event_bus(f"sqlite:///{path}") as bus:
            assert bus.dead_letters.count() == 0


@pytest.mark.parametrize("durable", [False, True], ids=["memory", "durable"])
async def test_a_dead_letter_redriven_or_purged_by_the_bus_that_made_it_is_gone_for_good(
    tmp_path: Path, durable: bool
) -> None:
    broken = True

    def fail(_event: Event) -> None:
        if broken:
            raise OSError

    async with create_event_bus(f"sqlite:///{tmp_path}/run.db") as bus:
        bus.subscribe("t.*", fail, name="ledger", durable=durable)
        await bus.publish_many([event(n) for n in range(3)])
        assert await bus.drain(60)
        assert await bus.dead_letters.redrive() == 3
        assert await bus.drain(60)
        assert bus.dead_letters.count() == 3, "it fails again"
        broken = False
        await bus.dead_letters.redrive(lambda letter: letter.event["n"] == 0)
        await bus.dead_letters.purge(lambda letter: letter.event["n"] == 1)
        assert await bus.drain(60)
    async with create_event_bus(f"sqlite:///{tmp_path}/run.db") as bus:
        assert [letter.event["n"] for letter in bus.dead_letters] == [2]
