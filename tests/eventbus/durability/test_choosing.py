"""What a group wants of what it reads: the predicate is asked once about each event, and costs its own delivery only."""

from __future__ import annotations

import math
from collections import Counter
from contextvars import Context
from pathlib import Path

from eventbus import Event, InMemoryEventBus, create_event_bus
from eventbus.durability.choosing import Choosing
from eventbus.durability.event_cache import Found
from eventbus.durability.share import Share
from eventbus.journal.shared import Lease
from eventbus.journal.values import Cursor
from eventbus.testing import Recorder


async def test_the_predicate_is_asked_once_about_an_event_that_is_dispatched_and_then_read() -> None:
    asked = Counter[int]()

    def is_even(event: Event) -> bool:
        asked[event["n"]] += 1
        return bool(event["n"] % 2 == 0)

    subscription = InMemoryEventBus().subscribe("t.*", Recorder(), where=is_even)
    choosing = Choosing(subscription, 0, lambda *_: None)
    share = Share(Lease("books/0", 1, 10.0), Cursor("books/0", 0), math.inf)
    events = [Event("t.x", payload={"n": n}) for n in range(4)]
    heard = [choosing.hears(offset, event, is_ahead=True) for offset, event in enumerate(events, 1)]
    found = [Found(offset, event, Context(), 0, 0, -offset) for offset, event in enumerate(events, 1)]
    assert heard == [True, False, True, False]
    assert [choosing.wanted(share, each) is not None for each in found] == heard
    assert set(asked.values()) == {1}


async def test_an_event_about_which_the_predicate_raises_is_given_up_and_the_others_are_handled(tmp_path: Path) -> None:
    seen = Recorder()
    async with create_event_bus(f"sqlite:///{tmp_path}/run.db") as bus:
        bus.subscribe("t.*", seen, group="books", where=lambda event: 6 / (event["n"] - 3))
        await bus.publish_many([Event("t.x", payload={"n": n}) for n in range(6)])
        assert await bus.drain(60)
        letters = await bus.dead_letters.list()
        cursor = await bus.journal.committed("books")
    assert seen.values("n") == [0, 1, 2, 4, 5]
    assert [letter.event["n"] for letter in letters] == [3]
    assert cursor is not None
    assert (cursor.floor, dict(cursor.totals)) == (6, {"succeeded": 5, "dead_lettered": 1})
