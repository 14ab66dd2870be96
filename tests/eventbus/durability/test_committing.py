"""Commits gather what came while the one before ran; a part where others' events pass moves all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus
from eventbus.testing import Recorder

pytestmark = pytest.mark.virtual_time
Make = Callable[..., InMemoryEventBus]


async def test_the_floor_of_a_part_moves_though_nothing_comes_for_it(make: Make) -> None:
    bus, seen = make(), Recorder()
    await bus.connect()
    await bus.subscribe("t.*", seen, group="books", key="account", parts=16)
    for n in range(30):
        await bus.publish("t.x", {"account": "one", "n": n})
    await asyncio.sleep(10)
    floors = [cursor.floor for part in range(16) if (cursor := await bus.journal.committed(f"books/{part}"))]
    assert floors == [30] * 16
    assert len(seen) == 30


async def test_what_gathers_while_a_commit_runs_goes_with_the_next(make: Make) -> None:
    bus = make()
    await bus.connect()
    commits, plain = list[int](), bus.journal.commit_parts  # type: ignore[attr-defined]

    async def slow(parts: Any) -> object:
        commits.append(sum(len(part.settled) for part in parts))
        await asyncio.sleep(1)
        return await plain(parts)

    bus.journal.commit_parts = slow  # type: ignore[attr-defined]
    bus.subscribe("t.*", Recorder(), group="books")
    await asyncio.sleep(1)
    for n in range(10):
        await bus.publish(Event("t.x", payload={"n": n}))
        await asyncio.sleep(0.01)
    await asyncio.sleep(5)
    assert commits[0] < 10
    assert sum(commits) == 10
    assert len(commits) <= 3


async def test_a_commit_that_is_cut_short_is_made_again_when_the_bus_closes(make: Make) -> None:
    bus, calls, hangs = make(), 0, asyncio.Event()
    await bus.connect()
    journal: Any = bus.journal
    plain = journal.commit_parts

    async def first_hangs(parts: Any) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            hangs.set()
            await asyncio.Event().wait()
        return await plain(parts)

    journal.commit_parts = first_hangs
    await bus.subscribe("t.*", Recorder(), group="books")
    await bus.publish("t.x")
    await hangs.wait()
    await bus.shutdown(1)
    reader = make()
    await reader.connect()
    cursor = await reader.journal.committed("books/0")
    assert cursor is not None
    assert cursor.floor == 1
