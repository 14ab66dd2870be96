"""The promised face of the bus, sentence by sentence, as somebody who only read the contract would use it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventbus import (
    Event,
    InMemoryEventBus,
    Kind,
    OnFailure,
    Overflow,
    PolicyConflict,
)


class Noted(Event, type="contract.noted"):
    n: int = 0


class Filled(Event, type="contract.filled", kind=Kind.EXECUTION, key="order"):
    order: str


class Quoted(Event, type="contract.quoted", kind=Kind.QUOTE, key="book"):
    book: dict[str, int]


async def ignore(_event: Event) -> None:
    """A handler for whom everything is well."""


# --- events and policies -------------------------------------------------------------------------------------------


def test_a_typed_event_says_which_names_it_has_like_an_ad_hoc_one() -> None:
    assert "n" in Noted()
    assert "m" not in Noted()
    assert "n" in Event("contract.made", payload={"n": 1})


def test_a_policy_may_be_given_as_a_word() -> None:
    policy = InMemoryEventBus().subscribe(Noted, ignore, overflow="drop_oldest", queue_size=2, on_failure="drop").policy
    assert policy.overflow is Overflow.DROP_OLDEST
    assert policy.on_failure is OnFailure.DROP


@pytest.mark.parametrize(
    "wrong",
    [
        {"overflow": "drop_some", "queue_size": 2},
        {"on_failure": "shrug"},
        {"retry": 3},
        {"where": "n > 1"},
        {"key": 5},
        {"timeout": "2"},
    ],
)
def test_a_policy_of_no_use_is_refused_by_name_when_subscribing(wrong: dict[str, Any]) -> None:
    with pytest.raises(PolicyConflict, match=next(iter(wrong))):
        InMemoryEventBus().subscribe(Noted, ignore, **wrong)


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("key", [lambda event: event.nope, lambda event: [event.n]])
async def test_a_key_that_cannot_be_had_makes_a_dead_letter_and_disturbs_nobody(key: Any, concurrency: int) -> None:
    bus, seen = InMemoryEventBus(), list[int]()
    bus.subscribe(Noted, ignore, key=key, concurrency=concurrency, name="keyed")
    bus.subscribe(Noted, lambda event: seen.append(event.n))
    async with bus:
        for n in range(3):
            await bus.publish(Noted(n=n))
        assert await bus.drain(timeout=5)
    assert seen == [0, 1, 2]
    assert [(letter.subscription, letter.reason) for letter in bus.dead_letters] == [("keyed", "key= raised")] * 3


async def test_a_quote_whose_key_cannot_be_hashed_is_a_dead_letter() -> None:
    bus = InMemoryEventBus()
    bus.subscribe(Quoted, ignore)
    async with bus:
        await bus.publish(Quoted(book={"bid": 1}))
        assert await bus.drain(timeout=5)
    assert bus.dead_letters.count() == 1


# --- the door ------------------------------------------------------------------------------------------------------


async def test_a_publisher_that_gives_up_waiting_for_a_queue_leaves_nothing_behind() -> None:
    bus, go = InMemoryEventBus(), asyncio.Event()

    async def hold(_event: Event) -> None:
        await go.wait()

    subscription = bus.subscribe(Noted, hold, queue_size=1)
    async with bus:
        await bus.publish(Noted())
        waiting = asyncio.create_task(bus.publish(Noted()))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert not subscription.worker._vacancies
        go.set()


async def test_a_publisher_does_not_wait_for_the_queue_of_a_cancelled_subscription() -> None:
    bus, began, go = InMemoryEventBus(), asyncio.Event(), asyncio.Event()

    async def hold(_event: Event) -> None:
        began.set()
        await go.wait()

    subscription = bus.subscribe(Noted, hold, queue_size=1)
    async with bus:
        await bus.publish(Noted())
        waiting = asyncio.create_task(bus.publish(Noted()))
        await began.wait()
        subscription.cancel()
        done, _ = await asyncio.wait([waiting], timeout=5)
        go.set()
    assert done
