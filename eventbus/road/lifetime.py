"""Lifetime: run, stop, drain; who may call, from which loop and process.

Knows that stations can be woken, paused and moved, and nothing of what they do.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import random
import weakref
from collections.abc import Callable, Coroutine
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from eventbus.errors import BusNotRunning, BusStopped, JournalUnavailable, WouldDeadlock, WrongLoop, WrongProcess
from eventbus.log import log
from eventbus.road.context import inside
from eventbus.road.crew import Crew
from eventbus.road.waiters import Waiters
from eventbus.road.waits import Waits
from eventbus.stats import Histogram, Raised, Tally

if TYPE_CHECKING:
    from eventbus.clock import Clock
    from eventbus.durability.store import Store
    from eventbus.road.dispatcher import Dispatcher
    from eventbus.road.door import Door
    from eventbus.road.run import Run
    from eventbus.road.shutdown import Shutdown
    from eventbus.road.worker import Worker
    from eventbus.selector import RouteTable

T = TypeVar("T")
_AGAIN_S = 0.25
_NAMES_TOLD = 10


class Lifetime:
    """Of one bus."""

    def __init__(self, *, name: str, clock: Clock, rng: random.Random, grace: float) -> None:
        self.name = name
        self.clock = clock
        self.rng = rng
        self.grace = grace
        self.crew = Crew(clock, grace)
        self.dispatch = Histogram()  # acceptance to first attempt
        self.totals = Tally()  # of all subscriptions, those that are gone included
        self.raised = Raised()
        self.waits = Waits()
        self.started_ns: int | None = None
        self.is_ending = False  # what still runs is cancelled by the bus
        self.is_ended = False
        self.is_running = False  # may attempts start? A handler may change that while it is called
        self._thread = 0
        self._pid = os.getpid()
        self._stops = 0  # how often stop() was called
        self._announced: weakref.WeakSet[Run] = weakref.WeakSet()  # runs that were asked for and had no turn yet
        self.idle = Waiters()  # who waits for the end of everything pending
        self._lingering: set[Worker] = set()
        self._end: asyncio.Future[None] | None = None  # of the run
        self._main: asyncio.Task[None] | None = None  # the run that connect() made
        self._shutdown: Shutdown | None = None  # before the stations are there
        self._is_warned = False
        self._door: Door
        self._dispatcher: Dispatcher
        self._routes: RouteTable[Worker]
        self._store: Store

    def governs(
        self, door: Door, dispatcher: Dispatcher, routes: RouteTable[Worker], store: Store, shutdown: Shutdown
    ) -> None:
        """These are the stations."""
        self._door, self._dispatcher, self._routes = door, dispatcher, routes
        self._store, self._shutdown = store, shutdown
        _buses.add(self)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop it runs on; None before it ran."""
        return self.crew.loop

    # --- who may call ----------------------------------------------------------------------------------------------

    @property
    def is_called(self) -> bool:
        """Does it run, or will it with the next turn of a loop?"""
        return self.is_running or bool(self._announced)

    @property
    def has_run(self) -> bool:
        """Did anybody ever run it?"""
        return self.started_ns is not None

    def must_run(self, call: str) -> None:
        """Raise `BusNotRunning` for a call that would wait for ever."""
        self.must_be_here(call)
        if not self.is_called:
            raise BusNotRunning(call)
        self.must_own(call)

    def must_own(self, call: str) -> None:
        """Raise `WrongLoop` off the loop that the bus runs on, `WrongProcess` in a fork of its process."""
        loop = self.crew.loop
        if self._pid < 0:
            raise WrongProcess(call, -self._pid)
        if loop is None or (self.is_running and get_ident() == self._thread and loop.is_running()):
            return
        if (self.is_running or loop.is_running()) and get_ident() != self._thread:
            raise WrongLoop(call)
        if self.is_running and not loop.is_closed() and _running_loop() not in (loop, None):
            raise WrongLoop(call)

    def must_be_here(self, call: str) -> None:
        if self._pid < 0:
            raise WrongProcess(call, -self._pid)

    def forked(self) -> None:
        """This is a child of the process that the bus ran in, or opened its journal in."""
        if (self.has_run or self._store.is_taken) and self._pid > 0:
            self._pid = -self._pid
            self.is_running = False
            self.crew.bind(None)
            self._door.seal()

    # --- what is pending -------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Deliveries without an outcome."""
        return self.totals.pending

    @property
    def is_idle(self) -> bool:
        """Is nothing pending, cascades included?"""
        return not (self.pending or self._door.queued or self._store.is_behind)

    def look_idle(self) -> None:
        """Wake those who wait for the end of everything pending, if this is it."""
        if self._routes.has_leaving and not self._door.queued:
            self._routes.nothing_waits()
        if self.idle and self.is_idle:
            self.idle.wake()

    async def idleness(self) -> None:
        """Wait until nothing is pending. Raises `BusNotRunning` when the bus stops before that."""
        while not self.is_idle:
            with self.idle.one() as waiter:
                await waiter

    def interrupt(self) -> None:
        """CONTROL was accepted: it comes before the next attempt."""
        self._dispatcher.interrupt()

    def somebody_waits(self) -> None:
        """A publisher waits for a place: whatever has one that it need not have gives it back."""
        self.never_started()
        self._dispatcher.count_places()

    # --- run -------------------------------------------------------------------------------------------------------

    def announce(self, run: Run) -> int | None:
        """A run was asked for; gives the number of stops that it must not be behind, None after a shutdown."""
        if self.is_shut:
            return None
        self._announced.add(run)
        return self._stops

    def withdraw(self, run: Run) -> None:
        """It had its turn, or never will: whoever relied on it is told."""
        self._announced.discard(run)
        if not self.is_called:
            self.idle.wake(BusNotRunning("drain()"))

    async def run(self, run: Run, stops: int | None) -> None:
        """Run until `stop`. Where the bus runs already it waits for the same end."""
        end = None
        try:
            self.must_be_here("run_forever()")
            if stops is None:
                raise BusStopped("run_forever()")
            if stops == self._stops:
                await self._store.open()
            if stops == self._stops and not self.is_ending:  # else it ended before it began
                end = self.begin()
        finally:
            self.withdraw(run)
        if end is None:
            return
        try:
            await asyncio.shield(end)
        finally:
            self._halt(end)

    def begin(self) -> asyncio.Future[None]:
        """Run from now on, unless it does; gives the end of that."""
        if self.is_running and self._end is not None:
            self.must_own("run_forever()")
            return self._end
        loop = asyncio.get_running_loop()
        if self.loop is not loop:
            if self.loop is not None and self.loop.is_running():
                raise WrongLoop("run_forever()")
            has_moved = self.loop is not None
            self.crew.bind(loop)
            if has_moved:
                self._move()
        self._thread, self.is_running = get_ident(), True
        self._pid = os.getpid()
        if self.started_ns is None:
            self.started_ns = self.clock.monotonic_ns()
        self._end = loop.create_future()
        self._door.seal()
        self._dispatcher.lead()
        for worker in self.workers:
            worker.wake_if_work()
        self._store.started()
        return self._end

    def _move(self) -> None:
        """To another loop: everything bound to the old one is made anew."""
        # Those of another loop are gone with it.
        self.idle = Waiters(waiter for waiter in self.idle if waiter.get_loop() is self.loop)
        self._door.move()
        self._dispatcher.move()
        for worker in self.workers:
            worker.move()

    @property
    def workers(self) -> tuple[Worker, ...]:
        """Of the live subscriptions, and of those that were cancelled and are not done."""
        return tuple(dict.fromkeys((*self._routes.members, *self._routes.leaving, *self._lingering)))

    def lingers(self, worker: Worker, does: bool) -> None:
        """It was cancelled, and something of it is still pending; or no longer."""
        (self._lingering.add if does else self._lingering.discard)(worker)

    def stop(self) -> None:
        """Ask for the end of the run. From anywhere: a handler, another thread, a signal handler."""
        self._stops += 1
        loop, end = self.loop, self._end
        if loop is None or end is None or loop.is_closed():
            return
        if get_ident() == self._thread:
            self._halt(end)
        with contextlib.suppress(RuntimeError):  # the loop closed meanwhile: the bus has ended already
            loop.call_soon_threadsafe(self._halt, end)

    def _halt(self, end: asyncio.Future[None]) -> None:
        """That run is over. Another may have begun meanwhile, and goes on."""
        if end is not self._end:
            return
        if self.is_running:
            self.is_running = False  # may attempts start? A handler may change that while it is called
            for worker in self.workers:
                worker.interrupt()
            self._dispatcher.look_up()
            self.idle.wake(BusNotRunning("drain()"))
        if not end.done():
            end.set_result(None)

    def autostart(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Somebody needs it to run, and it starts by itself: inside a running loop it does so now."""
        loop = _running_loop()
        if loop is None or self.is_called or self.is_shut or self._pid < 0:
            return
        self._main = asyncio.Task(run(), loop=loop, name=f"{self.name}-dispatcher")

    async def connect(self, run: Callable[[], Coroutine[Any, Any, None]], wait: float) -> None:
        """Run it as a task of the bus, unless it runs already. A journal that is not there is tried again for so many seconds."""
        self.must_be_here("connect()")
        until = asyncio.get_running_loop().time() + wait
        while True:
            if self.is_shut:
                raise BusStopped("connect()")
            try:
                await self._store.open()
                break
            except JournalUnavailable:
                if asyncio.get_running_loop().time() + _AGAIN_S > until:
                    raise
                await asyncio.sleep(_AGAIN_S)
        runs_already = self.is_running
        if runs_already:
            self.must_own("connect()")
            return
        loop = asyncio.get_running_loop()
        self._main = asyncio.Task(run(), loop=loop, name=f"{self.name}-dispatcher")
        while not self.is_running and not self._main.done():  # noqa: ASYNC110 - it begins, then it waits for the end
            await asyncio.sleep(0)
        if self._main.done():
            await self._main

    # --- drain -----------------------------------------------------------------------------------------------------

    async def drain(self, timeout: float | None) -> bool:
        """Wait until nothing is pending, cascades included. True when drained, False on time-out."""
        must_be_outside("drain()")
        self.must_be_here("drain()")
        if self.is_idle:
            return True
        self.must_run("drain()")
        if timeout is None:
            await self.idleness()
            return True
        try:
            async with asyncio.timeout(timeout):
                await self.idleness()
        except TimeoutError:
            return False
        return True

    # --- the end ---------------------------------------------------------------------------------------------------

    @property
    def is_shut(self) -> bool:
        """Was it shut down, or is about to be?"""
        return self._shutdown is not None and self._shutdown.has_begun

    async def end(self) -> None:
        """The run is over, and what still runs of the bus is ended."""
        if self._end is not None:
            self._halt(self._end)
        self.is_ending = True
        await self.crew.end(self._main)
        self.is_ended = True

    # --- who is outside --------------------------------------------------------------------------------------------

    def never_started(self) -> None:
        """The bus is full, or the program ends: where events wait that nobody ever ran it for, say so, once."""
        queued = self._door.queued
        if queued and not (self._is_warned or self.has_run or self.is_called or self.is_shut):
            self._is_warned = True
            names = sorted(worker.name for worker in self.workers)
            log.warning(
                "bus %s holds %d events, for %s, and was never started: await bus.run_forever() or use 'async with bus'",
                self.name,
                queued,
                ", ".join(names[:_NAMES_TOLD]) or "no subscription",
                extra={"queued": queued, "subscriptions": names},
            )

    def from_thread(self, make: Callable[[], Coroutine[Any, Any, T]], call: str) -> concurrent.futures.Future[T]:
        """Run what `make` gives on the loop, asked for by any thread. Raises `BusNotRunning` before there is a loop."""
        self.must_be_here(call)
        if self.loop is None or self.loop.is_closed():
            raise BusNotRunning(call)
        return self.crew.run_for_thread(make, BusStopped(call))


def must_be_outside(call: str) -> None:
    """Raise `WouldDeadlock` inside a handler, for a call that waits until handlers have ended."""
    mark = inside()
    if mark is not None:
        raise WouldDeadlock(call=call, circle=(mark[0].worker.name,))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


_buses: weakref.WeakSet[Lifetime] = weakref.WeakSet()


def _in_child() -> None:
    for lifetime in tuple(_buses):
        lifetime.forked()


def _at_exit() -> None:
    for lifetime in tuple(_buses):
        lifetime.never_started()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
