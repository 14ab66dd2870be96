"""Receipt: proof of acceptance, and how the event ended, for everybody who asks and whenever they ask."""

from __future__ import annotations

import asyncio

import pytest

from eventbus import Event, InMemoryEventBus, Reject, Retry, Status
from eventbus.testing import settle


async def answer(event: Event) -> int:
    return int(event["n"]) * 2


async def refuse(_event: Event) -> None:
    raise Reject("never")


async def test_receipt_names_the_event_and_its_durability(event_bus: InMemoryEventBus) -> None:
    event = Event("receipt.made", payload={"n": 1})
    receipt = await event_bus.publish(event)
    assert receipt.event is event
    assert receipt.event_id == event.event_id
    assert receipt.offset is None
    assert receipt.durability == "memory"
    assert event.event_id in repr(receipt)


async def test_outcomes_come_one_per_subscription_in_no_promised_order(event_bus: InMemoryEventBus) -> None:
    event_bus.subscribe("receipt.*", answer, name="good")
    event_bus.subscribe("receipt.*", refuse, name="bad")
    outcomes = {o.subscription: o for o in await (await event_bus.publish("receipt.made", {"n": 4}))}
    assert outcomes.keys() == {"good", "bad"}
    assert (outcomes["good"].status, outcomes["good"].result, outcomes["good"].error) == (Status.SUCCEEDED, 8, None)
    assert outcomes["bad"].status is Status.DEAD_LETTERED
    assert isinstance(outcomes["bad"].error, Reject)


@pytest.mark.parametrize("warm", [False, True], ids=["first", "proven"])
async def test_outcomes_can_be_asked_for_after_the_end(event_bus: InMemoryEventBus, warm: bool) -> None:
    event_bus.subscribe("receipt.*", answer, name="good")
    if warm:
        await event_bus.publish("receipt.made", {"n": 0})
        await settle()
    receipt = await event_bus.publish("receipt.made", {"n": 4})
    await settle()
    (outcome,) = await receipt
    assert (outcome.status, outcome.result, outcome.attempts) == (Status.SUCCEEDED, 8, 1)


async def test_each_receipt_of_a_burst_has_its_own_outcome(event_bus: InMemoryEventBus) -> None:
    event_bus.subscribe("receipt.*", answer)
    receipts = [await event_bus.publish("receipt.made", {"n": n}) for n in range(20)]
    assert [(await receipt)[0].result for receipt in receipts] == [n * 2 for n in range(20)]


async def test_one_receipt_kept_among_many_thrown_away_has_its_outcome(event_bus: InMemoryEventBus) -> None:
    event_bus.subscribe("receipt.*", answer)
    await event_bus.publish("receipt.made", {"n": 1})
    kept = await event_bus.publish("receipt.made", {"n": 2})
    await event_bus.publish("receipt.made", {"n": 3})
    await settle()
    assert [outcome.result for outcome in await kept] == [4]


async def test_receipt_may_be_awaited_twice_and_by_many(event_bus: InMemoryEventBus) -> None:
    event_bus.subscribe("receipt.*", answer)
    receipt = await event_bus.publish("receipt.made", {"n": 1})

    async def wait() -> object:
        return await receipt

    first, second = await asyncio.gather(wait(), wait())
    assert first == second == await receipt


async def test_nobody_listens_and_the_receipt_is_settled_empty(event_bus: InMemoryEventBus) -> None:
    assert await (await event_bus.publish("receipt.made")) == ()


async def test_cancelled_wait_leaves_the_delivery_alone(event_bus: InMemoryEventBus) -> None:
    release = asyncio.Event()

    async def wait(_event: Event) -> str:
        await release.wait()
        return "done"

    event_bus.subscribe("receipt.*", wait)
    receipt = await event_bus.publish("receipt.made")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await receipt
    release.set()
    assert [outcome.result for outcome in await receipt] == ["done"]


@pytest.mark.virtual_time
async def test_outcome_tells_attempts_and_times(event_bus: InMemoryEventBus) -> None:
    calls = 0

    async def third_time_lucky(_event: Event) -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.25)
        if calls < 3:
            raise OSError("not yet")

    event_bus.subscribe("receipt.*", third_time_lucky, retry=Retry(attempts=3, delay=1.0, jitter=False, factor=1.0))
    (outcome,) = await (await event_bus.publish("receipt.made"))
    assert (outcome.status, outcome.attempts) == (Status.SUCCEEDED, 3)
    assert outcome.ran_s == pytest.approx(0.25)


@pytest.mark.virtual_time
async def test_queued_is_the_wait_from_acceptance_to_the_first_attempt(event_bus: InMemoryEventBus) -> None:
    async def slow(_event: Event) -> None:
        await asyncio.sleep(2)

    event_bus.subscribe("receipt.*", slow)
    receipts = [await event_bus.publish("receipt.made") for _ in range(3)]
    waits = [(await receipt)[0].queued_s for receipt in receipts]
    assert waits == pytest.approx([0.0, 2.0, 4.0])
