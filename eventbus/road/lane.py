"""Lane: the bursts on their way from the door to the dispatcher. CONTROL comes out first, all others as they came in.

A heap, and whoever waits for it, who may be nudged though nothing came. Knows nothing of what is in a burst.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventbus.road.burst import Burst


class Lane:
    """Of one bus. Any number may enter, one takes out."""

    def __init__(self) -> None:
        self.bursts: list[tuple[bool, int, Burst]] = []  # a heap
        self._came = 0  # bursts, ever: what another process accepted comes in between, whatever its number is here
        self.arrival: asyncio.Future[None] | None = None  # somebody waits for it

    def put(self, burst: Burst) -> None:
        """A burst may be dispatched."""
        self._came += 1
        heappush(self.bursts, (not burst.is_urgent, self._came, burst))
        if self.arrival is not None:
            self.nudge()

    def take(self) -> Burst:
        """The next of them."""
        return heappop(self.bursts)[2]

    def oldest_ns(self) -> int | None:
        """When the first of what is here was accepted; None where nothing is."""
        return min((burst.accepted_ns for _, _, burst in self.bursts), default=None)

    def nudge(self) -> None:
        """Let whoever waits look up, also when nothing came."""
        arrival, self.arrival = self.arrival, None
        if arrival is not None and not arrival.done():
            arrival.set_result(None)

    def wait(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Done when something is there, or somebody nudges."""
        arrival = self.arrival = loop.create_future()
        if self.bursts:  # asked once more: a signal handler may have published a moment ago
            self.nudge()
        return arrival

    def move(self) -> None:
        """To another loop: who waits in the old one is gone with it."""
        self.arrival = None

    def left(self) -> list[Burst]:
        """Everything that is there, taken out."""
        return [self.take() for _ in range(len(self.bursts))]
