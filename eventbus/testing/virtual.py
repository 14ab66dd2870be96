"""Virtual time: an event loop whose clock jumps to the next timer instead of sleeping, and the clock that a bus shares with it.

A test of an hour takes a millisecond, and takes the same turns every time. Sync handlers still run in real threads: time stands
still while one of them works, unless it waits on a `Gate`.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

from eventbus.road.pool import ThreadPool

_EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
_TURNS_CAP = 200_000  # of the loop without time going on


class VirtualTimeStuck(RuntimeError):
    """The test would never end: nothing is scheduled and nothing comes from outside, or tasks keep waking each other."""


class VirtualClock:
    """A clock that moves only when told to, or when a `VirtualLoop` runs out of other things to do.

    `monotonic_ns` never goes back. The wall clock follows it, and may be set elsewhere to see that nobody minds.
    """

    def __init__(self, start: datetime = _EPOCH) -> None:
        self._ns = 0
        self._wall = start
        self._wall_set_at = 0

    def now(self) -> datetime:
        """The wall clock."""
        return self._wall + timedelta(microseconds=(self._ns - self._wall_set_at) // 1_000)

    def monotonic_ns(self) -> int:
        """Nanoseconds since the clock was made."""
        return self._ns

    def time(self) -> float:
        """Seconds since the clock was made: the time of the loop."""
        return self._ns / 1e9

    def move(self, seconds: float) -> None:
        """Let time pass without running anything. Raises `ValueError` for a time that has passed."""
        if seconds < 0:
            raise ValueError(f"monotonic time never goes back: {seconds} s")
        self._ns += ceil(seconds * 1e9)

    def set_wall(self, moment: datetime) -> None:
        """Somebody sets the wall clock; monotonic time goes on as before."""
        self._wall, self._wall_set_at = moment, self._ns

    def jump_wall(self, seconds: float) -> None:
        """The wall clock jumps, forward or back."""
        self.set_wall(self.now() + timedelta(seconds=seconds))

    async def advance(self, seconds: float) -> None:
        """Let time pass on the running virtual loop: everything that falls due on the way has run when this returns."""
        await asyncio.sleep(seconds)
        await settle()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time. Sockets work but are not waited for; threads of its `pool()` are.

    `patience` is the real time that it gives a thread to come back before it raises `VirtualTimeStuck`.
    """

    def __init__(self, clock: VirtualClock | None = None, *, patience: float = 60.0) -> None:
        self.clock = clock or VirtualClock()
        self.patience = patience
        self._selector_of_time = _JumpingSelector(self)
        self._pools: list[VirtualPool] = []
        self._settling: list[asyncio.Future[None]] = []
        super().__init__(self._selector_of_time)

    def time(self) -> float:
        return self.clock.time()

    async def shutdown_default_executor(self, _timeout: float | None = None) -> None:
        """Its threads take real time: a time-out in virtual time would be over before they notice."""
        await super().shutdown_default_executor()

    def pool(self, max_workers: int = 4) -> VirtualPool:
        """Threads for the sync handlers of a bus on this loop."""
        pool = VirtualPool(self, max_workers)
        self._pools.append(pool)
        return pool

    async def settled(self) -> None:
        """Wait until nothing can go on before time does: all that can be settled by now is."""
        waiter = self.create_future()
        self._settling.append(waiter)
        await waiter

    @property
    def is_waiting_for_threads(self) -> bool:
        """Does a thread work whose result is still to come?"""
        return any(pool.is_working for pool in self._pools)

    def nothing_ready(self) -> bool:
        """Wake those who wait for this moment; False when there are none."""
        settling, self._settling = self._settling, []
        for waiter in settling:
            if not waiter.done():
                waiter.set_result(None)
        return bool(settling)


class _JumpingSelector(selectors.DefaultSelector):
    """Where other loops sleep, this one moves the clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # Asked before looking: a thread posts its result first and is done then, so what is done by now will be seen.
        threads_work = self._loop.is_waiting_for_threads
        ready = super().select(0)
        if timeout is not None and timeout <= 0:
            self._turns += 1
            if self._turns > _TURNS_CAP:
                raise VirtualTimeStuck(f"{_TURNS_CAP} turns of the loop, and always something ready to run")
            return ready
        self._turns = 0
        if ready:
            return ready
        if not threads_work:
            if self._loop.nothing_ready():
                return []
            if timeout is not None:
                self._loop.clock.move(timeout)
                return []
        ready = super().select(self._loop.patience)
        if not ready:
            raise VirtualTimeStuck(
                f"nothing is scheduled, and nothing happened for {self._loop.patience:g} s of real time"
            )
        return ready


class VirtualPool(ThreadPool):
    """Daemon threads that virtual time waits for."""

    def __init__(self, loop: VirtualLoop, max_workers: int = 4) -> None:
        super().__init__(max_workers, "virtual")
        self._loop = loop
        self._size = max_workers
        self._census = threading.Lock()
        self._unfinished = 0
        self._parked = 0

    def submit(self, job: Callable[[], None]) -> None:
        """Run the job in a thread; time stands still until it is done, or waits on a gate."""
        with self._census:
            self._unfinished += 1
        super().submit(lambda: self._work_off(job))

    def _work_off(self, job: Callable[[], None]) -> None:
        try:
            job()
        finally:
            with self._census:
                self._unfinished -= 1
            self.wake_loop()

    @property
    def is_working(self) -> bool:
        """Is there a job in a thread, or about to be, that does not wait on a gate?"""
        with self._census:
            return min(self._unfinished, self._size + self.replaced) > self._parked

    def gate(self) -> Gate:
        """Something for a sync handler to wait on."""
        return Gate(self)

    def sleep(self, seconds: float) -> None:
        """In a sync handler: wait for so much virtual time."""
        gate = self.gate()
        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, gate.lift)
        gate.wait()

    def park(self, threads: int) -> None:
        """So many more threads wait on gates; negative: go on."""
        with self._census:
            self._parked += threads

    def wake_loop(self) -> None:
        """Let the loop look again who still works."""
        with contextlib.suppress(RuntimeError):  # it is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_look)


class Gate:
    """A sync handler waits at it in its thread, and does not stop time by it: as a handler that hangs, or works for long.

    Lift it when the test ends, so that the thread does too; as a context manager it does so by itself.
    """

    def __init__(self, pool: VirtualPool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._lifted = threading.Event()
        self._waiting = 0

    def wait(self) -> None:
        """Block this thread until the gate is lifted."""
        with self._lock:
            if self._lifted.is_set():
                return
            self._waiting += 1
            self._pool.park(1)
        self._pool.wake_loop()
        self._lifted.wait()

    def lift(self) -> None:
        """Let everybody through, from now on."""
        with self._lock:
            self._pool.park(-self._waiting)
            self._waiting = 0
            self._lifted.set()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_error: object) -> None:
        self.lift()


_TURNS = 50


async def settle() -> None:
    """Let everything run that can run before time goes on: what can be settled by now is, and nothing more comes by itself.

    Exact on a `VirtualLoop`, threads of its pool included. On any other loop it gives way a number of times, which is enough
    for handlers that wait for nothing but each other.
    """
    loop = asyncio.get_running_loop()
    if isinstance(loop, VirtualLoop):
        await loop.settled()
        return
    for _ in range(_TURNS):
        await asyncio.sleep(0)


@contextlib.contextmanager
def errors_of(loop: asyncio.AbstractEventLoop) -> Iterator[list[dict[str, Any]]]:
    """What reaches the loop's exception handler meanwhile: errors nobody awaited."""
    found: list[dict[str, Any]] = []
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _loop, context: found.append(context))
    try:
        yield found
    finally:
        loop.set_exception_handler(before)


def _look() -> None:
    """Nothing to do: being called is the point."""
