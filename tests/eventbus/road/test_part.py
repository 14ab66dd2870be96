"""Part: each event of a burst keeps an outcome of its own per subscription, and the times and attempts it took."""

from __future__ import annotations

import asyncio

import pytest

from eventbus import Event, InMemoryEventBus, Reject, Retry, Status


async def answer(event: Event) -> int:
    return int(event["n"]) * 2


async def refuse(_event: Event) -> None:
    raise Reject("never")


async def test_outcomes_come_one_per_subscription_in_no_promised_order(event_bus: InMemoryEventBus) -> None:
    event_bus.subscribe("burst.*", answer, name="good")
    event_bus.subscribe("burst.*", refuse, name="bad")
    outcomes = {o.subscription: o for o in await (await event_bus.publish("burst.made", {"n": 4}))}
    assert outcomes.keys() == {"good", "bad"}
    assert (outcomes["good"].status, outcomes["good"].result, outcomes["good"].error) == (Status.SUCCEEDED, 8, None)
    assert outcomes["bad"].status is Status.DEAD_LETTERED
    assert isinstance(outcomes["bad"].error, Reject)


async def test_each_receipt_of_a_burst_has_its_own_outcome(event_bus: InMemoryEventBus) -> None:
    event_bus.subscribe("burst.*", answer)
    receipts = [await event_bus.publish("burst.made", {"n": n}) for n in range(20)]
    assert [(await receipt)[0].result for receipt in receipts] == [n * 2 for n in range(20)]


@pytest.mark.virtual_time
async def test_outcome_tells_attempts_and_times(event_bus: InMemoryEventBus) -> None:
    calls = 0

    async def third_time_lucky(_event: Event) -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.25)
        if calls < 3:
            raise OSError("not yet")

    event_bus.subscribe("burst.*", third_time_lucky, retry=Retry(attempts=3, delay=1.0, jitter=False, factor=1.0))
    (outcome,) = await (await event_bus.publish("burst.made"))
    assert (outcome.status, outcome.attempts) == (Status.SUCCEEDED, 3)
    assert outcome.ran_s == pytest.approx(0.25)


@pytest.mark.virtual_time
async def test_queued_is_the_wait_from_acceptance_to_the_first_attempt(event_bus: InMemoryEventBus) -> None:
    async def slow(_event: Event) -> None:
        await asyncio.sleep(2)

    event_bus.subscribe("burst.*", slow)
    receipts = [await event_bus.publish("burst.made") for _ in range(3)]
    waits = [(await receipt)[0].queued_s for receipt in receipts]
    assert waits == pytest.approx([0.0, 2.0, 4.0])
