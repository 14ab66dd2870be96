"""Runtime: what the stations of one bus share: its clock, its tasks, its threads, and the count of what is still open.

Knows no route and no policy. Every task of the bus is started here and ends with it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from eventbus.burst import Burst
from eventbus.clock import Clock
from eventbus.dead_letter import DeadLetters
from eventbus.door import Door
from eventbus.errors import BusNotRunning
from eventbus.pool import ThreadPool
from eventbus.stats import Histogram


class _Log(logging.LoggerAdapter[logging.Logger]):
    """The bus's logger. It never raises: a full disk behind some log handler must not cost a delivery its outcome."""

    failures = 0  # records that a handler of the log refused

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        if self.isEnabledFor(level):
            try:
                self.logger.log(level, msg, *args, stacklevel=2, **kwargs)
            except Exception:  # noqa: BLE001 - a log handler is somebody else's code
                self.failures += 1


log = _Log(logging.getLogger("eventbus"))


class Runtime:
    """Shared by the dispatcher and the workers of one bus."""

    def __init__(self, *, door: Door, pool: ThreadPool, clock: Clock, rng: random.Random, grace: float) -> None:
        self.door = door
        self.pool = pool
        self.clock = clock
        self.rng = rng
        self.grace = grace
        self.loop: asyncio.AbstractEventLoop | None = None
        self.dead_letters: DeadLetters
        self.halt: Callable[[str], Any]
        self._runs = False
        self.is_ending = False  # the bus cancels what still runs
        self.is_ended = False
        self.is_sweeping = False  # the dispatcher is between taking a burst and being done with it
        self.open_deliveries = 0
        self.ready: deque[Any] = deque()  # workers, which are built above, whose mailbox the leader empties itself
        self.dispatch = Histogram()  # acceptance to first attempt
        self.tasks: set[asyncio.Task[Any]] = set()
        self.abandoned: set[asyncio.Task[Any]] = set()
        self.wake_leader: Callable[[], None] = lambda: None
        self.burst_returned: Callable[[Burst], None] = lambda _burst: None
        self.leader: asyncio.Task[None] | None = None
        self.is_behind: Callable[[], bool] = lambda: False  # does a journal hold deliveries that are not read yet?
        self._interrupts: list[object] = []
        self._idle_waiters: list[asyncio.Future[None]] = []

    @property
    def is_running(self) -> bool:
        """May attempts start? A handler may change that while it is called."""
        return self._runs

    @is_running.setter
    def is_running(self, runs: bool) -> None:
        self._runs = runs

    def start(self, coroutine: Coroutine[Any, Any, Any], context: Context | None = None) -> asyncio.Task[Any]:
        """A task of the bus. It is referenced here until it ends: a task known to nobody may be collected while it waits."""
        assert self.loop is not None
        task = self.loop.create_task(coroutine, context=context)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def interrupt(self) -> None:
        """Something must take effect before the next attempt.

        A sweep compares the reference count of its task after each event, to notice a handler that kept the task; one more
        reference therefore stops it, and the loop needs no second test per event.
        """
        if self.leader is not None:
            self._interrupts.append(self.leader)

    def clear_interrupts(self) -> None:
        self._interrupts.clear()

    def is_closing(self, error: BaseException) -> bool:
        """Is this the end of a coroutine whose loop is gone? While the loop runs, a handler raised it like any other."""
        return isinstance(error, GeneratorExit) and (self.loop is None or not self.loop.is_running())

    @property
    def is_idle(self) -> bool:
        return not (self.open_deliveries or self.is_sweeping or self.door.queued or self.is_behind())

    def closed(self, deliveries: int = 1) -> None:
        """So many deliveries have their outcome."""
        self.open_deliveries -= deliveries
        if not self.open_deliveries and self._idle_waiters:
            self.check_idle()

    def check_idle(self) -> None:
        """Wake those who wait for the end of everything pending, if this is it."""
        if self._idle_waiters and self.is_idle:
            waiters, self._idle_waiters = self._idle_waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def nobody_works(self) -> None:
        """What is pending stays so until the bus runs again: those who wait for its end are told."""
        waiters, self._idle_waiters = self._idle_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(BusNotRunning("drain()"))

    async def idle(self) -> None:
        """Wait until nothing is pending, cascades included. Raises `BusNotRunning` when the bus stops before that."""
        while not self.is_idle:
            waiter = asyncio.get_running_loop().create_future()
            self._idle_waiters.append(waiter)
            await waiter
