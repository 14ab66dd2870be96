"""Several buses over one log in memory, on a clock of the test: each stands for a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from eventbus import InMemoryEventBus
from eventbus.durability.shared import Shared
from eventbus.testing import SharedMemoryJournal, SharedMemoryLog, VirtualClock, VirtualLoop

Make = Callable[..., InMemoryEventBus]


@pytest.fixture
async def log() -> SharedMemoryLog:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return SharedMemoryLog(loop.clock)


@pytest.fixture
async def make(log: SharedMemoryLog) -> AsyncIterator[Make]:
    """Makes the bus of another process."""
    made: list[InMemoryEventBus] = []
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    clock: VirtualClock = loop.clock

    def make(name: str | None = None, latency: float = 0.001, **settings: Any) -> InMemoryEventBus:
        journal = SharedMemoryJournal(log, latency=latency)
        bus = InMemoryEventBus(store=Shared(journal, **settings), clock=clock, name=name)
        made.append(bus)
        return bus

    yield make
    for bus in made:
        await bus.shutdown(1)
