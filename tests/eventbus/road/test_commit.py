"""Commit: everybody who waits for a burst's way into the journal is told once, and alike, whenever they ask."""

from __future__ import annotations

import asyncio

import pytest

from eventbus.road.commit import Commit, NotYet
from eventbus.testing import VirtualClock


@pytest.mark.parametrize("error", [None, OSError("disk full")], ids=["durable", "refused"])
async def test_who_waits_and_who_asks_later_are_told_alike(error: Exception | None) -> None:
    commit = Commit()
    waiting = [commit.wait(), commit.wait()]
    commit.resolve(error)
    answers = await asyncio.gather(*waiting, commit.wait(), return_exceptions=True)
    assert answers == [error] * 3


async def test_what_was_said_first_stands() -> None:
    commit = Commit()
    commit.resolve(None)
    commit.resolve(OSError("too late"))
    await commit.wait()


async def test_one_that_stopped_waiting_keeps_nobody_from_being_told() -> None:
    commit = Commit()

    async def wait() -> str:
        await commit.wait()
        return "durable"

    gone, stays = asyncio.create_task(wait()), asyncio.create_task(wait())
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    commit.resolve(None)
    assert await stays == "durable"
    assert gone.cancelled()


@pytest.mark.virtual_time
async def test_who_waits_for_too_long_is_told_and_it_may_be_durable_after_all(virtual_clock: VirtualClock) -> None:
    commit = Commit()
    answers = await asyncio.gather(*(commit.wait(2.0) for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [NotYet] * 3
    assert virtual_clock.time() == pytest.approx(2.0)
    again = commit.wait(2.0)
    commit.resolve(None)
    await again
    await asyncio.sleep(5)
