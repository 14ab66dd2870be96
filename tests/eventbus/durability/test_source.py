"""What groups read over a journal: what passed lately as it was, everything else from its bytes, and what cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import Context
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eventbus import DeadLetter, Event, SystemClock
from eventbus.durability.quarantine import Quarantine
from eventbus.durability.record import as_record
from eventbus.durability.share import News
from eventbus.durability.source import JournalSource
from eventbus.journal.sole import sharing_of
from eventbus.journal.sqlite import SqliteJournal
from eventbus.journal.values import Append, Settled
from eventbus.road.burst import Burst

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    async with SqliteJournal(tmp_path / "run.db") as journal:
        yield journal


@pytest.fixture
async def source(journal: SqliteJournal) -> JournalSource:
    return JournalSource(journal, sharing_of(journal), Quarantine(journal), SystemClock())


def event(number: int) -> Event:
    return Event("t.source", payload={"n": number}, timestamp=LONG_AGO)


async def test_what_passed_lately_is_the_same_object_and_the_rest_is_read(
    journal: SqliteJournal, source: JournalSource
) -> None:
    events = [event(n) for n in range(4)]
    await journal.append([as_record(each) for each in events])
    burst = Burst(events[2], Context(), 2, 9, 5)
    burst.written(3, "power_loss")
    source.entered(burst)
    found = [*source.found(await source.fetch(0, 10))]
    assert [each.event for each in found] == events
    assert [each.event is event for each, event in zip(found, events, strict=True)] == [False, False, True, False]
    assert [(each.offset, each.hops, each.burst) for each in found] == [(1, 0, -1), (2, 0, -2), (3, 2, 9), (4, 0, -4)]
    assert source.place_of(burst) == 3
    assert source.last == 4


async def test_how_long_ago_an_old_one_was_accepted_is_told_by_its_label(
    journal: SqliteJournal, source: JournalSource
) -> None:
    await journal.append([as_record(event(1))])
    (found,) = source.found(await source.fetch(0, 10))
    waited_s = (SystemClock().monotonic_ns() - found.accepted_ns) / 1e9
    assert waited_s == pytest.approx((datetime.now(UTC) - LONG_AGO).total_seconds(), abs=60)


async def test_what_cannot_be_read_comes_without_an_event_and_with_what_is_to_be_kept_once(
    journal: SqliteJournal, source: JournalSource
) -> None:
    await journal.append([Append("bad", "t.bad", 1, "event", None, 0, None, None, b"\xff")])
    fetched = await source.fetch(0, 10)
    (first,), (again,) = source.found(fetched), source.found(fetched)
    assert (first.event, again.event, again.unreadable) == (None, None, None)
    assert first.unreadable is not None
    assert first.unreadable.raw == b"\xff"


async def test_what_became_of_deliveries_is_kept_all_at_once(journal: SqliteJournal) -> None:
    sharing = sharing_of(journal)
    source = JournalSource(journal, sharing, Quarantine(journal), SystemClock())
    await journal.append([as_record(event(n)) for n in range(3)])
    lease = (await sharing.acquire(["books/0"]))["books/0"]
    await source.open_part(lease, "beginning")
    assert await source.record_attempts(lease, [1, 2]) == {1: 1, 2: 1}
    letter = DeadLetter(1, event(1), "books", "never", "no", 2, LONG_AGO, LONG_AGO)
    news = News(lease, [Settled(1), Settled(2, "dead_lettered", 2)], [(3, 3)], [(letter, 2)], [])
    assert await source.commit([news]) == [3]
    cursor = await journal.committed("books")
    (kept,) = await journal.dead_letters()
    assert cursor is not None
    assert (cursor.floor, dict(cursor.totals)) == (3, {"succeeded": 1, "dead_lettered": 1})
    assert (kept.offset, kept.subscription, kept.reason, kept.attempts) == (2, "books", "never", 2)


async def test_waiting_ends_with_the_next_record(journal: SqliteJournal, source: JournalSource) -> None:
    waiting = asyncio.create_task(source.wait(0))
    await asyncio.sleep(0)
    assert not waiting.done()
    await journal.append([as_record(event(1))])
    async with asyncio.timeout(60):
        await waiting
