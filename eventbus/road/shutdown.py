"""Shutdown: the end of a bus, in order: nobody enters, what is pending is drained, what still runs is ended, what is left is told.

Once for all who ask for it. Knows whom to ask for each part of it, and nothing of how they do it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from eventbus.errors import BusNotRunning, BusStopped, ReentrantStop
from eventbus.log import log
from eventbus.outcome import ShutdownReport
from eventbus.road.context import inside

if TYPE_CHECKING:
    from eventbus.durability.store import Store
    from eventbus.road.dispatcher import Dispatcher
    from eventbus.road.door import Door
    from eventbus.road.lifetime import Lifetime
    from eventbus.road.pool import ThreadPool
    from eventbus.road.telling import FailureLog
    from eventbus.road.worker import Worker
    from eventbus.selector import RouteTable

_NAMES_TOLD = 20


class Shutdown:
    """Of one bus."""

    def __init__(
        self,
        lifetime: Lifetime,
        door: Door,
        dispatcher: Dispatcher,
        routes: RouteTable[Worker],
        pool: ThreadPool,
        store: Store,
        told: FailureLog,
    ) -> None:
        self._lifetime = lifetime
        self._door = door
        self._dispatcher = dispatcher
        self._routes = routes
        self._pool = pool
        self._store = store
        self._told = told
        self._task: asyncio.Task[ShutdownReport] | None = None
        self._expecting: set[asyncio.Future[Any]] = set()

    @property
    def has_begun(self) -> bool:
        """Did anybody ask for it?"""
        return self._task is not None

    async def run(self, timeout: float | None) -> ShutdownReport:
        """Stop accepting, drain, end everything. Idempotent; goes on if its caller is cancelled."""
        lifetime = self._lifetime
        if inside() is not None:
            raise ReentrantStop("shutdown()")
        if self._task is None:
            lifetime.must_own("shutdown()")
            ending = self._shut_down(timeout, was_called=lifetime.is_called or lifetime.has_run)
            self._task = asyncio.Task(ending, loop=asyncio.get_running_loop(), name=f"{lifetime.name}-shutdown")
        return await asyncio.shield(self._task)

    @contextlib.contextmanager
    def expects(self, event: asyncio.Future[Any]) -> Iterator[None]:
        """Somebody waits for an event meanwhile: it will not come once the bus has ended."""
        if self._lifetime.is_ended:
            raise BusStopped("expect()")
        self._expecting.add(event)
        try:
            yield
        finally:
            self._expecting.discard(event)

    async def _shut_down(self, timeout: float | None, *, was_called: bool) -> ShutdownReport:
        lifetime, started_ns = self._lifetime, self._lifetime.clock.monotonic_ns()
        self._door.shut()
        for worker in self._routes.members:
            if worker.gate is not None:
                worker.gate.let_in()
        await self._store.opened()
        self._store.ending()
        if was_called and not lifetime.is_running and not lifetime.is_idle:
            lifetime.begin()  # stopped before: what is pending is still to be drained
        drained = await self._drained(timeout)
        self._dispatcher.flush()
        abandoned = tuple(f"{worker.name}: {event}" for worker in lifetime.workers for event in worker.running.events)
        await lifetime.end()
        waiting = {worker.name: worker.tally.pending for worker in lifetime.workers if worker.tally.pending}
        queued = self._door.queued
        left = sum(waiting.values()) + queued
        self._tell_the_waiting()
        self._pool.close()
        self._told.end_minute()
        await self._store.close()
        if left:
            self._tell_left(left, queued, waiting)
        return ShutdownReport(drained, abandoned, left, (lifetime.clock.monotonic_ns() - started_ns) / 1e9)

    async def _drained(self, timeout: float | None) -> bool:
        if self._lifetime.is_idle or not self._lifetime.is_running:
            return self._lifetime.is_idle
        try:
            async with asyncio.timeout(timeout):
                await self._lifetime.idleness()
        except (TimeoutError, BusNotRunning):
            return False
        return True

    def _tell_the_waiting(self) -> None:
        """What is left now is never settled here: whoever waits for that learns it."""
        stopped = BusStopped("await receipt")
        for worker in self._lifetime.workers:
            worker.fail(stopped)
        for burst in self._door.left():
            burst.fail(stopped)
        for expected in self._expecting:
            if not expected.done():
                expected.set_exception(BusStopped("expect()"))

    def _tell_left(self, left: int, queued: int, waiting: dict[str, int]) -> None:
        told = sorted(waiting.items())[:_NAMES_TOLD]
        names = ", ".join(f"{name} {count}" for name, count in told) or "none"
        is_new = not self._lifetime.has_run
        never = "; it was never started: await bus.run_forever() or use 'async with bus'" if is_new else ""
        log.warning(
            "bus ended with %d left: %d not dispatched, by subscription: %s%s",
            left,
            queued,
            names,
            never,
            extra={"left": left, "queued": queued, "subscriptions": waiting},
        )
