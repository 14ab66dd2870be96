"""Groups read what the tail read: nothing is decoded twice, and a full bus holds no group up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from eventbus import Event, InMemoryEventBus
from eventbus.testing import Recorder

pytestmark = pytest.mark.virtual_time
Make = Callable[..., InMemoryEventBus]


async def test_a_group_and_a_plain_subscription_get_the_same_object(make: Make) -> None:
    first, second = make(), make()
    await first.connect()
    await second.connect()
    plain, grouped = Recorder(), Recorder()
    second.subscribe("t.*", plain)
    await second.subscribe("t.*", grouped, group="books")
    for n in range(5):
        await first.publish("t.x", {"n": n})
    await asyncio.sleep(2)
    assert grouped.values("n") == [*range(5)]
    assert all(one is other for one, other in zip(plain.events, grouped.events, strict=True))


async def test_a_group_goes_on_while_a_plain_subscription_fills_the_bus(make: Make) -> None:
    first, second, grouped = make(), make(), Recorder()
    second._door.places.size = 3  # a small one

    async def hang(_event: Event) -> None:
        await asyncio.Event().wait()

    await first.connect()
    await second.connect()
    second.subscribe("t.*", hang)
    await second.subscribe("t.*", grouped, group="books")
    for n in range(30):
        await first.publish("t.x", {"n": n})
    await asyncio.sleep(5)
    assert grouped.values("n") == [*range(30)]
