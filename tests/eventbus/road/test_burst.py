"""Burst: events accepted in a row share what they can and nothing more, and a kept receipt keeps no other event."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextvars import ContextVar
from typing import Literal

import pytest

from eventbus import BusStopped, Event, InMemoryEventBus, Status
from eventbus.road.burst import SEALED


class Numbered(Event, type="burst.numbered"):
    """One of several of a type."""

    n: int


async def answer(event: Event) -> int:
    return int(event["n"]) * 2


async def test_nobody_listens_and_the_receipt_is_settled_empty(event_bus: InMemoryEventBus) -> None:
    assert await (await event_bus.publish("burst.made")) == ()


async def test_cancelled_wait_leaves_the_delivery_alone(event_bus: InMemoryEventBus) -> None:
    release = asyncio.Event()

    async def wait(_event: Event) -> str:
        await release.wait()
        return "done"

    event_bus.subscribe("burst.*", wait)
    receipt = await event_bus.publish("burst.made")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await receipt
    release.set()
    assert [outcome.result for outcome in await receipt] == ["done"]


@pytest.mark.parametrize("isolation", ["task", None])
async def test_what_ends_while_its_burst_is_dealt_out_wakes_who_waited_before(
    event_bus: InMemoryEventBus, isolation: Literal["task"] | None
) -> None:
    def key(event: Numbered) -> int:
        if event.n == 1:
            raise ValueError("no key")
        return 0

    async def pause(_event: Event) -> None:
        await asyncio.sleep(0.01)

    def block(_event: Event) -> None: ...

    if isolation == "task":
        event_bus.subscribe(Numbered, pause, key=key, concurrency=2, isolation="task")
    else:
        event_bus.subscribe(Numbered, block, key=key, concurrency=2)
    first, second = [await event_bus.publish(Numbered(n=n)) for n in (1, 2)]
    async with asyncio.timeout(60):
        outcomes = [await receipt for receipt in (first, second)]
    assert [outcome.status for (outcome,) in outcomes] == [Status.DEAD_LETTERED, Status.SUCCEEDED]


async def test_what_is_published_in_a_row_is_one_burst_and_another_context_is_another(
    event_bus: InMemoryEventBus,
) -> None:
    colour: ContextVar[str] = ContextVar("burst_colour")
    bursts: list[list[int]] = []
    event_bus.tap(lambda events, _offset: bursts.append([event["n"] for event in events]))
    for n in range(3):
        await event_bus.publish("burst.made", {"n": n})
    colour.set("red")
    for n in range(3, 5):
        await event_bus.publish("burst.made", {"n": n})
    await event_bus.drain()
    assert bursts == [[0, 1, 2], [3, 4]]


@pytest.mark.event_bus(history=0)
async def test_a_kept_receipt_keeps_no_other_event_of_its_burst(event_bus: InMemoryEventBus) -> None:
    event_bus.subscribe("burst.*", answer)
    receipts = await event_bus.publish_many(Event("burst.made", payload={"n": n}) for n in range(100))
    others = [weakref.ref(receipt.event) for receipt in receipts[1:]]
    kept = receipts[0]
    del receipts
    await event_bus.drain()
    await event_bus.publish_and_wait("burst.after", {"n": 0})  # whoever ran them has let go
    gc.collect()
    assert [other() for other in others if other() is not None] == []
    assert [outcome.result for outcome in await kept] == [0]


def test_what_stands_for_a_burst_that_has_ended_is_failed_by_nobody() -> None:
    """A thread may still have a part in hand that has ended when the bus is shut down."""
    SEALED.fail(BusStopped("drain()"))
    assert SEALED.failure is None
    assert SEALED.waiters is None
    assert SEALED.events == []
