"""What begins is counted first: who takes over from a dead process runs what that had begun alone, and as its next attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus, Retry
from eventbus.journal.parts import part_of
from eventbus.road.part import Delivery
from eventbus.testing import Recorder

pytestmark = pytest.mark.virtual_time
Make = Callable[..., InMemoryEventBus]


async def hang(_event: Event) -> None:
    await asyncio.Event().wait()


async def test_who_takes_over_runs_alone_first_what_had_begun(make: Make) -> None:
    first, second, running, seen = make(lease=3.0), make(lease=3.0), set[int](), list[tuple[int, int, int]]()
    await first.connect()
    first.subscribe("t.*", hang, group="books", concurrency=3, parts=1)
    await asyncio.sleep(1)

    async def handle(event: Event, delivery: Delivery) -> None:
        running.add(event["n"])
        seen.append((event["n"], delivery.attempt, len(running)))
        await asyncio.sleep(0.1)
        running.discard(event["n"])

    await second.connect()
    second.subscribe("t.*", handle, group="books", concurrency=3, parts=1)
    for n in range(3):
        await second.publish("t.x", {"n": n})
    await asyncio.sleep(1)
    first.journal.cut_off()  # type: ignore[attr-defined] # it is the one in memory
    await second.publish("t.x", {"n": 3})
    await asyncio.sleep(6)
    assert sorted(seen) == [(0, 2, 1), (1, 2, 1), (2, 2, 1), (3, 1, 1)]


async def test_what_runs_alone_is_counted_in_the_write_that_commits_the_one_before(make: Make) -> None:
    first, second, began, latency = make(lease=3.0), make(lease=3.0, latency=0.1), list[float](), 0.1

    async def note(_event: Event) -> None:
        began.append(asyncio.get_running_loop().time())

    await first.connect()
    first.subscribe("t.*", hang, group="books", parts=1)
    await asyncio.sleep(1)
    await second.connect()
    second.subscribe("t.*", note, group="books", parts=1)
    for n in range(20):
        await second.publish("t.x", {"n": n})
    await asyncio.sleep(1)
    first.journal.cut_off()  # type: ignore[attr-defined]
    await asyncio.sleep(15)
    assert len(began) == 20
    assert began[-1] - began[0] < 19 * 1.5 * latency


async def test_what_succeeded_alone_is_committed_before_what_may_kill_begins_whatever_else_is_being_committed(
    make: Make,
) -> None:
    first, second, third = make(lease=3.0), make(lease=3.0, latency=0.1), make(lease=3.0)
    policy: dict[str, Any] = {"group": "books", "parts": 2, "key": "k", "concurrency": 4}
    policy["retry"] = Retry(attempts=2, delay=0)
    keys = [[key for key in map(str, range(40)) if part_of(key, "", 2) == part] for part in range(2)]

    async def handle(event: Event, delivery: Delivery) -> None:
        if event["n"] == "other":
            await asyncio.sleep(0.05)
        if event["n"] == "deadly" and delivery.attempt == 2:
            second.journal.cut_off()  # type: ignore[attr-defined] # it is the one in memory
            await asyncio.Event().wait()

    await first.connect()
    first.subscribe("t.*", hang, **policy)
    await second.connect()
    await third.connect()
    await asyncio.sleep(1)
    second.subscribe("t.*", handle, **policy)
    await asyncio.sleep(5)  # each has a part by now
    for part in keys:  # one of these is in flight with the first
        for key, name in zip(part, ("harmless", "deadly"), strict=False):
            await first.publish("t.x", {"k": key, "n": name})
    await asyncio.sleep(0.5)
    first.journal.cut_off()  # type: ignore[attr-defined]
    for turn in range(400):  # the other part is never at rest
        await third.publish("t.x", {"k": keys[turn % 2][2 + turn % 3], "n": "other"})
        await asyncio.sleep(0.013)
    third.subscribe("t.*", Recorder(), **policy)
    await asyncio.sleep(8)
    assert [letter.event["n"] for letter in await third.dead_letters.list()] == ["deadly"]


async def test_what_several_processes_died_of_is_given_up(make: Make) -> None:
    buses, handled = [make(lease=2.0) for _ in range(3)], Recorder()
    policy: dict[str, Any] = {"group": "books", "retry": Retry(attempts=2, delay=0), "parts": 1}
    for bus in buses[:2]:
        await bus.connect()
        await bus.subscribe("t.*", hang, **policy)
        await bus.publish("t.x", {"n": 1})
        await asyncio.sleep(3)
        bus.journal.cut_off()  # type: ignore[attr-defined]
    await buses[2].connect()
    buses[2].subscribe("t.*", handled, **policy)
    await asyncio.sleep(5)
    letters = await buses[2].dead_letters.list()
    assert [letter.reason for letter in letters] == ["attempts that began and did not end: 2"]
    assert handled.values("n") == [1]  # of the second event, which only one process had begun
