"""The bus that writes its journal behind: dispatched at once, durable after a flush, and done again without a second record."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest

from eventbus import (
    Event,
    IdConflict,
    InMemoryEventBus,
    JournalUnavailable,
    PolicyConflict,
    create_event_bus,
)
from eventbus.durability.journaled import Behind, Journaled
from eventbus.journal.protocol import Journal
from eventbus.journal.sqlite import SqliteJournal, SqliteReader
from eventbus.journal.values import Append, Appended

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class StepEvent(Event, type="test.trailing.step"):
    """Something was done."""

    number: int


class EchoEvent(Event, type="test.trailing.echo"):
    """What came of it."""

    number: int


class FullDisk(SqliteJournal):
    """A journal whose disk is full when told so."""

    is_full = False

    def append(self, batch: Sequence[Append]) -> Awaitable[Sequence[Appended]]:
        return self._refuse() if self.is_full else super().append(batch)

    async def _refuse(self) -> list[Appended]:
        raise JournalUnavailable("run.db", "the disk is full")


def named(event: Event, cause: Event, subscription: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"{cause.event_id}/{subscription}/{event.type}"))


def step(number: int) -> StepEvent:
    return StepEvent(number=number, event_id=f"step-{number}", timestamp=NOON)


def echo_on(bus: InMemoryEventBus, seen: list[int], *, factor: int = 1) -> None:
    async def echo(event: StepEvent) -> None:
        seen.append(event.number)
        await bus.publish(EchoEvent(number=factor * event.number, timestamp=event.timestamp))

    bus.subscribe(StepEvent, echo, name="echo")


def records(path: Path) -> list[tuple[str, str]]:
    with SqliteReader(path) as reader:
        return [(record.event_id, record.type) for record in reader.read(0, 1_000)]


def over(journal: Journal, **settings: Any) -> InMemoryEventBus:
    """A bus over a journal of its own kind."""
    kept = {name: settings.pop(name) for name in ("journal_quotes", "retention", "behind") if name in settings}
    return InMemoryEventBus(store=Journaled(journal, **kept), **settings)


def trailing(path: Path) -> InMemoryEventBus:
    bus = create_event_bus(f"sqlite:///{path}", write_behind=True, identify=named)
    assert isinstance(bus, InMemoryEventBus)
    return bus


async def test_written_first_an_event_is_durable_when_it_is_handled_and_accepted_once(tmp_path: Path) -> None:
    seen: list[tuple[int, bool]] = []

    async def look(event: StepEvent) -> None:
        seen.append((event.number, event.event_id in dict(records(tmp_path / "run.db"))))

    async with create_event_bus(f"sqlite:///{tmp_path}/run.db") as bus:
        bus.subscribe(StepEvent, look)
        first = await bus.publish_many([step(1), step(2)])
        again = await bus.publish_many([step(0), step(2), step(3)])
        assert await bus.drain()
        assert bus.stats().published == 4
    assert seen == [(1, True), (2, True), (0, True), (3, True)]
    assert [receipt.offset for receipt in (*first, *again)] == [1, 2, 3, 2, 4]


async def test_what_was_flushed_is_in_the_journal_in_the_order_of_dispatch(tmp_path: Path) -> None:
    bus, seen = trailing(tmp_path / "run.db"), list[int]()
    echo_on(bus, seen)
    async with bus:
        for number in range(3):
            assert (await bus.publish(step(number))).durability == "memory"
            await bus.drain()
        await bus.flush()
        kept = records(tmp_path / "run.db")
    assert seen == [0, 1, 2]
    assert [type_ for _, type_ in kept] == [StepEvent.type, EchoEvent.type] * 3


async def test_shutdown_writes_what_is_left(tmp_path: Path) -> None:
    async with trailing(tmp_path / "run.db") as bus:
        await bus.publish(step(1))
    assert records(tmp_path / "run.db") == [("step-1", StepEvent.type)]


async def test_what_is_published_again_is_handled_again_and_kept_once(tmp_path: Path) -> None:
    seen: list[int] = []
    events = [step(number) for number in range(3)]
    for through in (2, 3):
        async with trailing(tmp_path / "run.db") as bus:
            echo_on(bus, seen)
            await bus.publish_many(events[:through])
            await bus.drain()
    assert seen == [0, 1, 0, 1, 2]
    assert sorted(type_ for _, type_ in records(tmp_path / "run.db")) == [EchoEvent.type] * 3 + [StepEvent.type] * 3


async def test_an_event_published_again_that_differs_is_told_by_the_flush(tmp_path: Path) -> None:
    for factor in (1, 2):
        bus = trailing(tmp_path / "run.db")
        echo_on(bus, [], factor=factor)
        async with bus:
            await bus.publish(step(1))
            await bus.drain()
            if factor == 2:
                with pytest.raises(IdConflict):
                    await bus.flush()


async def test_a_journal_that_fails_refuses_publishers_until_it_works_again(tmp_path: Path) -> None:
    journal = FullDisk(tmp_path / "run.db")
    async with over(journal, behind=Behind()) as bus:
        journal.is_full = True
        await bus.publish(step(1))
        await bus.drain()
        with pytest.raises(JournalUnavailable, match="disk is full"):
            await bus.flush()
        with pytest.raises(JournalUnavailable, match="disk is full"):
            await bus.publish(step(2))
        journal.is_full = False
        await bus.flush()
        await bus.publish(step(3))
    assert [event_id for event_id, _ in records(tmp_path / "run.db")] == ["step-1", "step-3"]


async def test_a_publisher_far_ahead_of_the_journal_waits_for_it(tmp_path: Path) -> None:
    async with over(SqliteJournal(tmp_path / "run.db"), behind=Behind(batch=1, delay=3600)) as bus:
        for number in range(200):
            await bus.publish(step(number))
            await bus.drain()
        assert len(records(tmp_path / "run.db")) >= 150


async def test_reading_shows_what_was_dispatched_a_moment_ago(tmp_path: Path) -> None:
    async with trailing(tmp_path / "run.db") as bus:
        await bus.publish(step(1))
        await bus.drain()
        assert [event.event_id async for event in bus.replay()] == ["step-1"]
        assert (await bus.explain("step-1")).event.event_id == "step-1"


async def test_a_durable_subscription_is_refused(tmp_path: Path) -> None:
    async with trailing(tmp_path / "run.db") as bus:
        with pytest.raises(PolicyConflict, match="durable"):
            bus.subscribe(StepEvent, print, group="reader")
        assert "durable" not in bus.capabilities


async def test_ids_given_by_cause_are_the_same_when_it_is_done_again() -> None:
    runs = []
    for _ in range(2):
        bus, echoes = InMemoryEventBus(identify=named), list[str]()
        echo_on(bus, [])

        async def keep(event: EchoEvent, echoes: list[str] = echoes) -> None:
            echoes.append(event.event_id)

        bus.subscribe(EchoEvent, keep)
        async with bus:
            await bus.publish_many([step(number) for number in range(3)])
            await bus.drain()
        runs.append(echoes)
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 3
