"""Gateway: what everything behind a route shares: the bus, the settings, the ring of what was dispatched, who listens.

Routes find it as `app.state.gateway`. It begins and ends with the application, and knows no route.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fastapi.requests import HTTPConnection
from prometheus_client import CollectorRegistry, generate_latest

from eventbus import Clock, Event, EventBus, EventBusError, Explanation, InMemoryEventBus, SystemClock
from eventbus.gateway.auth import Auth
from eventbus.gateway.extension import Extension
from eventbus.gateway.follower import Followed
from eventbus.gateway.letters import Letters
from eventbus.gateway.limits import Buckets, Places
from eventbus.gateway.problems import Problem
from eventbus.gateway.publishing import Publishing
from eventbus.gateway.services import Service, entered
from eventbus.gateway.settings import GatewaySettings, is_loopback
from eventbus.gateway.sockets import Sockets
from eventbus.gateway.source import read_event
from eventbus.observability import LoopWatchdog, MetricsCollector

if TYPE_CHECKING:
    from eventbus.gateway.feed import Feed
    from eventbus.gateway.ring import Ring

_ANSWERS = 1_000  # of commands with a key of the client's own


class Gateway:
    """One gateway over one bus. A bus that runs already when the gateway starts is somebody else's, and goes on after it."""

    def __init__(
        self,
        bus: EventBus | Followed,
        settings: GatewaySettings,
        services: tuple[Service, ...] = (),
        *,
        clock: Clock | None = None,
        added: Extension | None = None,
    ) -> None:
        self.is_follower = isinstance(bus, Followed)
        self.bus = InMemoryEventBus(name="follower") if isinstance(bus, Followed) else bus  # nobody publishes there
        self.settings = settings
        self.clock = clock or SystemClock()
        self.watchdog = LoopWatchdog(self.bus)
        added = added or Extension()
        self.sockets = Sockets(
            bus, name=self.bus.name, clock=self.clock, blocks=lambda: self.watchdog.count, keeps=added.keeps
        )
        limits = settings.limits
        self.auth = Auth(settings, self._monotonic)
        self.places = Places(limits)
        self.requests = Buckets(limits.requests_per_s, limits.requests_burst, self._monotonic)
        self.publishing = Publishing(self.bus, self.auth, limits, self._monotonic)
        self.letters = Letters(self.bus, tells=not settings.run_owns_events, keeps=added.keeps)
        self.is_stopping = False
        self.halted_since = ""
        self._more = added.capabilities
        self._services = services
        self._entered = AsyncExitStack()
        self._metrics = MetricsCollector(self.bus, watchdog=self.watchdog)
        self._counts = CollectorRegistry()
        self._counts.register(self.sockets.counts)
        self._answers: OrderedDict[Hashable, asyncio.Task[int]] = OrderedDict()
        self._stopping: asyncio.Task[None] | None = None
        self._owns_bus = self._has_started = False

    # --- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen to the bus, build the services on it, and run it unless it runs. May be called twice."""
        if self._has_started:
            return
        self._has_started = True
        self._owns_bus = not self.bus.is_running
        for service in self._services:
            await entered(service, self.bus, self._entered)
        if self._owns_bus:
            await self.bus.connect()
            self.watchdog.start()
        await self.sockets.start()

    async def stop(self) -> None:
        """End in order: the bus drains while clients still hear it, then clients are closed, then the bus. May be called twice."""
        if self._stopping is None:
            self.is_stopping = True
            self._stopping = asyncio.get_running_loop().create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        await self.letters.end()
        if self._owns_bus and self.bus.is_running:
            await self.bus.drain(self.settings.drain_timeout)
        await self.sockets.stop()
        await self._entered.aclose()
        if self._owns_bus:
            await self.bus.shutdown(self.settings.drain_timeout)
            self.watchdog.stop()

    def _monotonic(self) -> float:
        return self.clock.monotonic_ns() / 1e9

    # --- what routes ask ---------------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> list[str]:
        """What can be done here, by name."""
        if self.is_follower:
            return sorted({"explain", "resume", "views", *self._more()})
        can = {"explain", "purge", "redrive", "resume", "views", *self._more()}
        return sorted(can if self.settings.run_owns_events else can | {"halt", "publish"})

    @property
    def ring(self) -> Ring:
        """What was dispatched lately."""
        return self.sockets.feed.ring

    @property
    def feed(self) -> Feed:
        """What was dispatched and can be read."""
        return self.sockets.feed

    @property
    def has_journal(self) -> bool:
        """Is everything that was dispatched in a journal, under its number?"""
        return "durable" in self.bus.capabilities

    async def find(self, event_id: str) -> tuple[int | None, Event | None]:
        """An event that is kept, and its number where that is known."""
        if (follower := self.sockets.follower) is not None:
            return await follower.find(event_id) or (None, None)
        if self.has_journal:
            record = await self.bus.journal.find(event_id)
            return (None, None) if record is None else (record.offset, read_event(record.body))
        newest = self.ring.after(self.ring.oldest - 1, self.ring.size)
        for number, event in enumerate(newest, start=self.ring.oldest):
            if event is not None and event.event_id == event_id:
                return number, event
        try:
            return None, (await self.bus.explain(event_id)).event
        except LookupError:
            return None, None

    @property
    def asks_for_metrics(self) -> bool:
        """Is a token asked for by the metrics? Not where only this machine can ask."""
        return self.auth.is_on and not is_loopback(self.settings.host)

    async def explain(self, event_id: str) -> Explanation:
        """The causal tree of an event. Raises `LookupError`."""
        follower = self.sockets.follower
        return await (self.bus if follower is None else follower).explain(event_id)

    async def is_ready(self) -> bool:
        """Does the bus take events?"""
        if self.is_stopping or not self.bus.is_running:
            return False
        try:
            if self.has_journal:
                await self.bus.journal.values("gateway")
        except EventBusError:
            return False
        return True

    def must_own_bus(self) -> None:
        """Raise `Problem` where the bus belongs to another process, whose journal is followed here."""
        if self.is_follower:
            raise Problem(409, "read_only", "this gateway follows a journal that another process writes: ask that one")

    def must_take_events(self) -> None:
        """Raise `Problem` where events come from a run and from nowhere else."""
        self.must_own_bus()
        if self.settings.run_owns_events:
            raise Problem(409, "run_owns_its_events", "a run makes its own events: send it a command")

    def halt(self, reason: str) -> str:
        """Halt the bus; gives the token that re-arms it."""
        if not self.bus.is_halted or not self.halted_since:
            self.halted_since = datetime.now(UTC).isoformat()
        return self.bus.halt(reason)

    async def once(self, key: str | None, what: Hashable, act: Callable[[], Awaitable[int]]) -> int:
        """What the command answers; what it answered, when it was asked before with the same key."""
        if key is None:
            return await act()
        asked = (key, what)
        if (known := self._answers.get(asked)) is None:
            known = self._answers[asked] = asyncio.ensure_future(_done(act))
            if len(self._answers) > _ANSWERS:
                self._answers.popitem(last=False)
        try:
            return await asyncio.shield(known)
        except EventBusError:
            self._answers.pop(asked, None)  # it was refused: the next time it may be different
            raise

    def refused(self, code: str) -> None:
        """Something was not let in."""
        self.sockets.counts.refused[code] += 1

    def metrics(self) -> str:
        """The bus and the gateway in numbers, as Prometheus reads them."""
        return self._metrics.text() + generate_latest(self._counts).decode()


async def _done(act: Callable[[], Awaitable[int]]) -> int:
    return await act()


def gateway_of(connection: HTTPConnection) -> Gateway:
    """The gateway that a request or a socket came to."""
    gateway: Gateway = connection.app.state.gateway
    return gateway
