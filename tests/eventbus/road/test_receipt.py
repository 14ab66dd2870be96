"""Receipt: what a publisher learns of its event, now or later, once or many times."""

from __future__ import annotations

import asyncio

import pytest

from eventbus import Event, InMemoryEventBus, Status
from eventbus.testing import settle


async def answer(event: Event) -> int:
    return int(event["n"]) * 2


async def test_receipt_names_the_event_and_its_durability(event_bus: InMemoryEventBus) -> None:
    event = Event("burst.made", payload={"n": 1})
    receipt = await event_bus.publish(event)
    assert receipt.event is event
    assert receipt.event_id == event.event_id
    assert receipt.offset is None
    assert receipt.durability == "memory"
    assert event.event_id in repr(receipt)


@pytest.mark.parametrize("warm", [False, True], ids=["first", "proven"])
async def test_outcomes_can_be_asked_for_after_the_end(event_bus: InMemoryEventBus, warm: bool) -> None:
    event_bus.subscribe("burst.*", answer, name="good")
    if warm:
        await event_bus.publish("burst.made", {"n": 0})
        await settle()
    receipt = await event_bus.publish("burst.made", {"n": 4})
    await settle()
    (outcome,) = await receipt
    assert (outcome.status, outcome.result, outcome.attempts) == (Status.SUCCEEDED, 8, 1)


async def test_receipt_may_be_awaited_twice_and_by_many(event_bus: InMemoryEventBus) -> None:
    event_bus.subscribe("burst.*", answer)
    receipt = await event_bus.publish("burst.made", {"n": 1})

    async def wait() -> object:
        return await receipt

    first, second = await asyncio.gather(wait(), wait())
    assert first == second == await receipt


async def test_one_receipt_kept_among_many_thrown_away_has_its_outcome(event_bus: InMemoryEventBus) -> None:
    event_bus.subscribe("burst.*", answer)
    await event_bus.publish("burst.made", {"n": 1})
    kept = await event_bus.publish("burst.made", {"n": 2})
    await event_bus.publish("burst.made", {"n": 3})
    await settle()
    assert [outcome.result for outcome in await kept] == [4]
