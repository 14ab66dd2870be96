"""Waiters: it happens to all of them at once, and who gave up is told nothing and kept nowhere."""

from __future__ import annotations

import asyncio

import pytest

from eventbus.road.waiters import Waiters
from eventbus.testing import settle

pytestmark = pytest.mark.virtual_time


async def wait(waiters: Waiters) -> str:
    with waiters.one() as waiter:
        await waiter
    return "it happened"


async def test_all_are_woken_at_once_and_nobody_twice() -> None:
    waiters = Waiters()
    waiting = [asyncio.create_task(wait(waiters)) for _ in range(3)]
    await settle()
    assert len(waiters) == 3
    waiters.wake()
    assert not waiters
    waiters.wake(ValueError("nobody hears it"))
    assert await asyncio.gather(*waiting) == ["it happened"] * 3


async def test_that_it_never_will_is_raised_with_the_reason() -> None:
    waiters = Waiters()
    waiting = asyncio.create_task(wait(waiters))
    await settle()
    waiters.wake(ValueError("over"))
    with pytest.raises(ValueError, match="over"):
        await waiting


async def test_who_gives_up_leaves_nothing_behind() -> None:
    waiters = Waiters()
    gone, stays = asyncio.create_task(wait(waiters)), asyncio.create_task(wait(waiters))
    await settle()
    gone.cancel()
    await asyncio.wait([gone])
    assert len(waiters) == 1
    waiters.wake()
    assert await stays == "it happened"


async def test_who_gave_up_in_the_turn_it_happened_harms_nobody() -> None:
    waiters = Waiters()
    gone, stays = asyncio.create_task(wait(waiters)), asyncio.create_task(wait(waiters))
    await settle()
    gone.cancel()
    waiters.wake()
    assert await stays == "it happened"
    await asyncio.wait([gone])
    assert gone.cancelled()
