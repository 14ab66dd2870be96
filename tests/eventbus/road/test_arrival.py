"""Arrival: a subscription takes what its predicate wants; one that raises costs its own delivery only."""

from __future__ import annotations

import asyncio

import pytest

from eventbus import (
    Event,
    InMemoryEventBus,
    Status,
)
from eventbus.testing import Recorder

pytestmark = pytest.mark.virtual_time


async def test_where_lets_through_what_it_wants(event_bus: InMemoryEventBus) -> None:
    heard = Recorder()
    subscription = event_bus.subscribe("a.b", heard, where=lambda event: event["n"] > 1)
    receipts = [await event_bus.publish("a.b", {"n": n}) for n in range(4)]
    outcomes = [await receipt for receipt in receipts]
    assert heard.values("n") == [2, 3]
    assert [len(o) for o in outcomes] == [0, 0, 1, 1]
    assert subscription.stats().accepted == 2


@pytest.mark.parametrize(
    "error", [KeyError("n"), SystemExit(1), asyncio.CancelledError()], ids=lambda e: type(e).__name__
)
async def test_where_that_raises_makes_a_dead_letter(event_bus: InMemoryEventBus, error: BaseException) -> None:
    def broken(_event: Event) -> bool:
        raise error

    neighbour = Recorder()
    event_bus.subscribe("a.b", Recorder(), where=broken, name="broken")
    event_bus.subscribe("a.b", neighbour, name="neighbour")
    for _ in range(2):
        outcomes = {o.subscription: o for o in await (await event_bus.publish("a.b"))}
        assert outcomes["broken"].status is Status.DEAD_LETTERED
        assert outcomes["broken"].error is error
        assert outcomes["neighbour"].status is Status.SUCCEEDED
    assert [letter.reason for letter in event_bus.dead_letters] == ["where= raised"] * 2
