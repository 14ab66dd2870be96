"""The next page is fetched while the one in hand is handled, and what nobody comes to is not looked into."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus, Retry, create_event_bus
from eventbus.durability.ahead import PAGE
from eventbus.durability.record import as_record
from eventbus.journal.values import Append
from eventbus.testing import Recorder

Make = Callable[..., InMemoryEventBus]


@pytest.mark.virtual_time
async def test_the_next_page_is_on_its_way_while_the_one_in_hand_is_handled(make: Make) -> None:
    first, second, seen = make(), make(latency=0.5), Recorder()
    await first.connect()
    for at in range(0, 3 * PAGE, PAGE):
        await first.publish_many([Event("t.x", payload={"n": n}) for n in range(at, at + PAGE)])
    await second.connect()
    asked: dict[int, int] = {}
    plain = second.journal.read

    async def read(after: int, limit: int = 1_000, **bounds: Any) -> Any:
        asked[after] = len(seen)
        return await plain(after, limit, **bounds)

    second.journal.read = read  # type: ignore[method-assign] # to see when it is asked
    second.subscribe("t.*", seen, group="books", start="beginning")
    assert await second.drain(600)
    assert seen.values("n") == list(range(3 * PAGE))
    assert (asked[0], asked[PAGE], asked[2 * PAGE] < 2 * PAGE) == (0, 0, True)


async def test_an_unreadable_record_of_a_page_that_was_left_is_set_aside_by_who_comes_to_it(tmp_path: Path) -> None:
    began, may_end, seen = asyncio.Event(), asyncio.Event(), Recorder()
    bad = Append("bad", "t.bad", 1, "event", None, 0, None, None, b"\xff")
    events = [as_record(Event("t.x", payload={"n": n})) for n in range(10)]

    async def handle(_event: Event) -> None:
        began.set()
        await may_end.wait()

    async with create_event_bus(f"sqlite:///{tmp_path}/run.db") as bus, asyncio.timeout(60):
        await bus.journal.append([*events[:5], bad, *events[5:]])
        stuck = bus.subscribe("t.*", handle, group="books", start="beginning", retry=Retry(attempts=1))
        await began.wait()
        ended = stuck.cancel()
        may_end.set()
        await ended
        bus.subscribe("t.*", seen, group="books")
        assert await bus.drain(60)
        assert [item.raw for item in await bus.journal.quarantined()] == [b"\xff"]
    assert seen.values("n") == list(range(1, 10))
