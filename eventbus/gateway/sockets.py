"""Sockets: what all WebSocket connections of one gateway share: the ring and what feeds it, the hub, the views, the beat.

Built once, begins after the bus and ends after its drain. Knows no single connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from eventbus.gateway.bus_views import BusViews, FollowedViews
from eventbus.gateway.counts import Counts
from eventbus.gateway.feed import Feed, History
from eventbus.gateway.follower import Followed, Follower
from eventbus.gateway.hub import Hub
from eventbus.gateway.ring import Ring
from eventbus.gateway.source import JournalHistory, Tapped
from eventbus.gateway.views import Views

if TYPE_CHECKING:
    from eventbus import Clock, EventBus

BEAT_S = 0.5


class Sockets:
    """The live half of a gateway over a bus, or over a journal that another process writes."""

    def __init__(
        self,
        bus: EventBus | Followed,
        *,
        name: str,
        clock: Clock,
        blocks: Callable[[], int],
        keeps: Callable[[str], str],
    ) -> None:
        self._bus = bus
        self._history: History | None = None
        self._beating: asyncio.Task[None] | None = None
        self.counts = Counts(name)
        self.feed = Feed(Ring(), lambda: self._history)
        self.hub = Hub(self.feed, self.counts, clock)
        self.views = Views(clock, self.counts)
        self.follower: Follower | None = None
        self._source: Tapped | Follower
        if isinstance(bus, Followed):
            self._source = self.follower = Follower(bus, self.feed, self.hub.arrived, self.hub.resnapshot)
            FollowedViews(self.follower, clock, clients=self.hub.__len__).register(self.views)
        else:
            self._source = Tapped(bus, self.feed, self.hub.arrived, self.hub.pass_by)
            BusViews(bus, clock, clients=self.hub.__len__, blocks=blocks, keeps=keeps).register(self.views)

    async def start(self) -> None:
        """Listen to the bus, which must run. Raises what a journal answers that cannot be read."""
        if isinstance(self._bus, Followed):
            self._history = self.follower
        elif "durable" in self._bus.capabilities:
            self._history = JournalHistory(self._bus)
        await self._source.start()
        self._beating = asyncio.get_running_loop().create_task(self._beat())

    async def stop(self, code: int = 1001, reason: str = "going away") -> None:
        """Close every client, after everything that was dispatched was given to them."""
        if self._beating is not None:
            self._beating.cancel()
        self._source.stop()
        self.views.end()
        await self.hub.end(code, reason)

    @property
    def epoch(self) -> str:
        """Which log is counted."""
        return self.feed.ring.epoch

    @property
    def seq(self) -> int:
        """The number of the newest event."""
        return self.feed.ring.head

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self.hub.beat()
            self._source.beat()
