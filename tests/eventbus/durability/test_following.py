"""A group reads on while others of its batches are counted; a batch that could not be counted takes those after it back with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus, JournalUnavailable
from eventbus.durability.share import MOST
from eventbus.road.part import Delivery

pytestmark = pytest.mark.virtual_time
Make = Callable[..., InMemoryEventBus]

EVENTS = 4 * MOST


async def test_a_batch_that_was_not_counted_is_read_again_before_the_one_that_was(make: Make) -> None:
    first, second, handled, calls = make(), make(), list[tuple[int, int]](), list[int]()
    await first.connect()
    for at in range(0, EVENTS, MOST):
        await first.publish_many([Event("t.x", payload={"n": n}) for n in range(at, at + MOST)])
    await second.connect()
    journal: Any = second.journal
    plain = journal.record_part_attempts

    async def moody(lease: Any, offsets: Sequence[int]) -> Any:
        calls.append(len(offsets))
        if len(calls) % 3 == 1:  # the second is counted all the same
            await asyncio.sleep(0.5)
            raise JournalUnavailable("here", "just now")
        return await plain(lease, offsets)

    async def handle(event: Event, delivery: Delivery) -> None:
        handled.append((event["n"], delivery.attempt))
        await asyncio.sleep(0.0001)

    journal.record_part_attempts = moody
    second.subscribe("t.*", handle, group="books", start="beginning", concurrency=4, parts=1)
    await asyncio.sleep(60)
    assert handled == [(n, 1) for n in range(EVENTS)]
    assert len(calls) > 6
    cursor = await second.journal.committed("books/0")
    assert cursor is not None
    assert (cursor.floor, dict(cursor.attempts), dict(cursor.totals)) == (EVENTS, {}, {"succeeded": EVENTS})


async def test_what_ends_is_committed_with_what_begins_next(make: Make) -> None:
    first, second, seen = make(), make(latency=0.05), list[int]()
    await first.connect()
    for at in range(0, EVENTS, MOST):
        await first.publish_many([Event("t.x", payload={"n": n}) for n in range(at, at + MOST)])
    await second.connect()
    journal: Any = second.journal
    said, began, loop = list[tuple[str, float]](), asyncio.Event(), asyncio.get_running_loop()
    count, commit = journal.record_part_attempts, journal.commit_parts

    def counted(*arguments: Any) -> Any:
        said.append(("count", loop.time()))
        return count(*arguments)

    def committed(*arguments: Any) -> Any:
        said.append(("commit", loop.time()))
        return commit(*arguments)

    async def handle(event: Event) -> None:
        began.set()
        seen.append(event["n"])

    journal.record_part_attempts, journal.commit_parts = counted, committed
    second.subscribe("t.*", handle, group="books", start="beginning")
    await asyncio.sleep(60)
    assert seen == list(range(EVENTS))
    counts, commits = ([at for what, at in said if what == each] for each in ("count", "commit"))
    assert len(counts) == len(commits) == EVENTS // MOST
    assert counts[1:] == pytest.approx(commits[:-1], abs=1e-6)


async def test_a_part_that_comes_while_the_last_batch_is_counted_is_read_though_nothing_follows(make: Make) -> None:
    first, second, publisher, handled = make(lease=2.0), make(lease=2.0), make(), list[int]()
    for bus in (first, second, publisher):
        await bus.connect()

    async def handle(event: Event) -> None:
        handled.append(event["n"])

    policy: dict[str, Any] = {"group": "books", "key": "account", "concurrency": 4, "parts": 2}
    await first.subscribe("t.*", handle, **policy)
    await second.subscribe("t.*", handle, **policy)
    await asyncio.sleep(30)  # each has one of the parts
    journal: Any = second.journal
    plain_open, plain_count, came = journal.open_part, journal.record_part_attempts, asyncio.Event()

    async def opened(*arguments: Any) -> Any:
        cursor = await plain_open(*arguments)
        came.set()
        return cursor

    async def counted(*arguments: Any) -> Any:
        await came.wait()
        await asyncio.sleep(0.01)
        return await plain_count(*arguments)

    journal.open_part, journal.record_part_attempts = opened, counted
    first.journal.cut_off()  # type: ignore[attr-defined] # as when it dies: the other part comes when its lease ran out
    await publisher.publish_many([Event("t.x", payload={"n": n, "account": n}) for n in range(200)])
    await asyncio.sleep(60)
    assert came.is_set()
    assert sorted(handled) == [*range(200)]
