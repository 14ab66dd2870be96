"""Dead letters of all processes in one list; a redrive is done once, by the process that has the subscription."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus, Reject
from eventbus.testing import Recorder

pytestmark = pytest.mark.virtual_time
Make = Callable[..., InMemoryEventBus]


class Moody:
    """Rejects until it is told otherwise."""

    def __init__(self) -> None:
        self.rejects, self.handled = True, list[int]()

    async def __call__(self, event: Event) -> None:
        if self.rejects:
            raise Reject("not now")
        self.handled.append(event["n"])


async def left_behind(make: Make, **policy: Any) -> tuple[InMemoryEventBus, InMemoryEventBus, Moody]:
    """A process whose subscription gave three events up, and one that has none."""
    worker, operator, moody = make(lease=3.0), make(lease=3.0), Moody()
    await worker.connect()
    await operator.connect()
    await worker.subscribe("t.*", moody, name="books", **policy)
    for n in range(3):
        await operator.publish("t.x", {"n": n})
    await asyncio.sleep(2)
    moody.rejects = False
    return worker, operator, moody


@pytest.mark.parametrize("policy", [{}, {"group": "books"}, {"group": "books", "concurrency": 4}])
async def test_who_has_no_such_subscription_lists_and_redrives_them_all_the_same(
    make: Make, policy: dict[str, Any]
) -> None:
    worker, operator, moody = await left_behind(make, **policy)
    letters = await operator.dead_letters.list()
    told = sorted((letter.subscription, letter.event["n"], letter.reason) for letter in letters)
    assert told == [("books", n, "rejected: not now") for n in range(3)]
    assert worker.dead_letters.count() == 3
    assert await operator.dead_letters.redrive(lambda letter: letter.event["n"] > 0) == 2
    await asyncio.sleep(2)
    assert sorted(moody.handled) == [1, 2]
    assert [letter.event["n"] for letter in await worker.dead_letters.list()] == [0]
    assert await worker.dead_letters.purge() == 1
    await asyncio.sleep(2)
    assert operator.dead_letters.count() == 0


async def test_two_who_ask_give_one_delivery(make: Make) -> None:
    worker, operator, moody = await left_behind(make, group="books")
    await asyncio.gather(*(bus.dead_letters.redrive() for bus in (worker, operator, worker, operator)))
    await asyncio.sleep(5)
    assert moody.handled == [0, 1, 2]


async def test_two_processes_that_have_the_subscription_deliver_it_once(make: Make) -> None:
    _worker, operator, moody = await left_behind(make)
    seen = Recorder()
    operator.subscribe("t.*", seen, name="books")
    await operator.dead_letters.redrive()
    await asyncio.sleep(5)
    assert sorted(moody.handled + seen.values("n")) == [0, 1, 2]


async def test_a_wish_waits_for_its_subscription_and_outlives_who_claimed_it(make: Make) -> None:
    worker, operator, _moody = await left_behind(make, group="books")
    worker.journal.cut_off()  # type: ignore[attr-defined] # it is the one in memory
    assert await operator.dead_letters.redrive() == 3
    await asyncio.sleep(10)
    seen = Recorder()
    await operator.subscribe("t.*", seen, group="books")
    await asyncio.sleep(10)
    assert sorted(seen.values("n")) == [0, 1, 2]
    assert await operator.dead_letters.list() == []
