"""A group that no process reads for is told after a while, and no longer when somebody does, or when it was dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from eventbus import InMemoryEventBus, PolicyConflict, create_event_bus
from eventbus.testing import Recorder

pytestmark = pytest.mark.virtual_time
Make = Callable[..., InMemoryEventBus]


async def test_a_group_that_nobody_reads_for_is_told_by_every_process_that_asks(make: Make) -> None:
    reads, stays = make(), make(forget_after=60.0)
    await reads.connect()
    await stays.connect()
    await reads.subscribe("t.*", Recorder(), group="books")
    await stays.subscribe("t.*", Recorder(), group="ledger")
    await asyncio.sleep(120)
    assert stays.stats().forgotten == ()
    await reads.shutdown(1)
    await asyncio.sleep(50)
    late = make(forget_after=60.0)
    await late.connect()
    assert stays.stats().forgotten == late.stats().forgotten == ()
    await asyncio.sleep(20)
    assert stays.stats().forgotten == late.stats().forgotten == ("books",)
    returns = make()
    await returns.connect()
    books = await returns.subscribe("t.*", Recorder(), group="books")
    await asyncio.sleep(10)
    assert stays.stats().forgotten == ()
    await books.cancel()
    await asyncio.sleep(100)
    assert stays.stats().forgotten == ("books",)
    await stays.journal.drop_group("books")
    await asyncio.sleep(10)
    assert stays.stats().forgotten == ()


async def test_without_that_setting_nobody_is_forgotten(make: Make) -> None:
    reads, stays = make(), make()
    await reads.connect()
    await stays.connect()
    await reads.subscribe("t.*", Recorder(), group="books")
    await reads.shutdown(1)
    await asyncio.sleep(1_000)
    assert stays.stats().forgotten == ()


async def test_it_is_a_setting_of_a_bus_that_processes_share() -> None:
    with pytest.raises(PolicyConflict, match="share"):
        create_event_bus("sqlite:///run.db?forget_after=60")
    with pytest.raises(PolicyConflict, match="forget_after"):
        create_event_bus("postgresql://localhost?forget_after=-1")
