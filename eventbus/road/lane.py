"""Lane: the bursts on their way from the door to the dispatcher. CONTROL comes out first, all others as they were opened.

An asyncio queue, and whoever waits for it, who may be nudged though nothing came. Knows nothing of what is in a burst.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventbus.road.burst import Burst


class Lane:
    """Of one bus. Any number may enter, one takes out."""

    def __init__(self) -> None:
        self._bursts: asyncio.PriorityQueue[tuple[bool, int, Burst]] = asyncio.PriorityQueue()
        self._arrival: asyncio.Future[None] | None = None  # somebody waits

    @property
    def is_empty(self) -> bool:
        return self._bursts.empty()

    def put(self, burst: Burst) -> None:
        """A burst may be dispatched."""
        self._bursts.put_nowait((not burst.is_urgent, burst.number, burst))
        if self._arrival is not None:
            self.nudge()

    def take(self) -> Burst | None:
        """The next burst; None when there is none."""
        return None if self._bursts.empty() else self._bursts.get_nowait()[2]

    def nudge(self) -> None:
        """Let whoever waits look up, also when nothing came."""
        arrival, self._arrival = self._arrival, None
        if arrival is not None and not arrival.done():
            arrival.set_result(None)

    async def arrival(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until something is there, or somebody nudges."""
        arrival = self._arrival = loop.create_future()
        if self._bursts.empty():  # asked once more: a signal handler may have published a moment ago
            await arrival
        self._arrival = None

    def move(self) -> None:
        """To another loop: a queue belongs to the one it was used in."""
        bursts, self._bursts = self._bursts, asyncio.PriorityQueue()
        while not bursts.empty():
            self._bursts.put_nowait(bursts.get_nowait())

    def left(self) -> list[Burst]:
        """Everything that is there, taken out."""
        bursts = []
        while (burst := self.take()) is not None:
            bursts.append(burst)
        return bursts
