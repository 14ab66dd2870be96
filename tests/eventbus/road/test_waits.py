"""Waits: a handler that would wait for itself, directly or in a circle, is told at once; one that can go on is let alone.

The circles that users draw are in `tests/found/test_r07_would_deadlock.py`; here are the four answers that all of them come to.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus, WouldDeadlock
from eventbus.testing import settle

pytestmark = pytest.mark.virtual_time


def asker(bus: InMemoryEventBus, asks: str, errors: list[BaseException]) -> Any:
    async def handler(event: Event) -> Any:
        if not event.get("ask"):
            return "answered"
        try:
            return await bus.request(asks, {"ask": event["ask"] - 1, "key": event.get("other")})
        except WouldDeadlock as error:
            errors.append(error)
            return "refused"

    return handler


async def test_waiting_for_itself_is_refused_and_names_the_circle(event_bus: InMemoryEventBus) -> None:
    errors: list[BaseException] = []
    event_bus.subscribe("waits.a", asker(event_bus, "waits.b", errors), name="a")
    event_bus.subscribe("waits.b", asker(event_bus, "waits.a", errors), name="b")
    assert await event_bus.request("waits.a", {"ask": 2}) == "refused"
    (error,) = errors
    assert "a" in str(error)
    assert "b" in str(error)


async def test_a_free_slot_is_enough(event_bus: InMemoryEventBus) -> None:
    errors: list[BaseException] = []
    event_bus.subscribe("waits.a", asker(event_bus, "waits.a", errors), concurrency=2)
    assert await event_bus.request("waits.a", {"ask": 1}) == "answered"
    assert errors == []


async def test_a_slot_that_will_be_free_is_waited_for(event_bus: InMemoryEventBus) -> None:
    errors: list[BaseException] = []
    release = asyncio.Event()

    async def busy(event: Event) -> str:
        if event.get("slow"):
            await release.wait()
        return "answered"

    event_bus.subscribe("waits.a", asker(event_bus, "waits.b", errors))
    event_bus.subscribe("waits.b", busy)
    await event_bus.publish("waits.b", {"slow": True})
    asked = asyncio.create_task(event_bus.request("waits.a", {"ask": 1}))
    await settle()
    assert not asked.done()
    release.set()
    assert await asked == "answered"
    assert errors == []


@pytest.mark.parametrize(("other", "answer"), [("mine", "refused"), ("another", "answered")])
async def test_a_key_that_is_held_is_a_slot_that_is_taken(event_bus: InMemoryEventBus, other: str, answer: str) -> None:
    errors: list[BaseException] = []
    event_bus.subscribe("waits.a", asker(event_bus, "waits.a", errors), key="key", concurrency=4)
    assert await event_bus.request("waits.a", {"ask": 1, "key": "mine", "other": other}) == answer


async def test_a_wait_that_is_over_is_forgotten(event_bus: InMemoryEventBus) -> None:
    errors: list[BaseException] = []
    event_bus.subscribe("waits.a", asker(event_bus, "waits.b", errors))
    event_bus.subscribe("waits.b", asker(event_bus, "waits.c", errors))
    for _ in range(3):
        assert await event_bus.request("waits.a", {"ask": 1}) == "answered"
    assert errors == []
