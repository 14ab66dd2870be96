"""Watchdog: a thread that notices when the event loop stands still, and says which handler holds it.

It asks the loop for a sign of life again and again; when none comes within the threshold it looks at the stack of the loop
thread. Nothing here runs per event. Knows the bus only by the mark that a running delivery leaves in its frames.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self

from eventbus.errors import BusNotRunning, PolicyConflict, WrongProcess
from eventbus.event import Event
from eventbus.road.context import Cell
from eventbus.road.part import Delivery
from eventbus.stats import Histogram

log = logging.getLogger("eventbus")

_BEATS = 10  # signs of life asked for per threshold: how exactly the start of a block is known
_MOST_BLOCKS = 16
_STACK_FRAMES = 25
_PACKAGE = __name__.partition(".")[0]


@dataclass(slots=True)
class Block:
    """One time the loop stood still. `blocked_s` is final once `is_over`; `subscription` and `type` are empty outside a delivery."""

    subscription: str
    type: str
    where: str  # the innermost line: function, file and number
    stack: str
    blocked_s: float
    is_over: bool = False

    def lasts(self, blocked_s: float) -> None:
        """So long by now."""
        self.blocked_s = blocked_s

    def ends(self, blocked_s: float) -> float:
        """So long in the end."""
        self.blocked_s, self.is_over = blocked_s, True
        return blocked_s


class LoopWatchdog:
    """Reports blocks of `threshold` seconds or more within 100 ms of it, each once: logged, counted, kept in `blocks`.

    Give it a loop, or a bus to watch the loop it runs on. `with` it, or `start()` and `stop()` it. `on_block` is called with each
    `Block` as it is noticed, in the watchdog's thread. Code that holds the GIL, on the loop or in the thread of a sync handler,
    is seen when it lets go.
    """

    def __init__(
        self, bus_or_loop: Any, threshold: float = 0.25, *, on_block: Callable[[Block], None] | None = None
    ) -> None:
        if not threshold > 0:
            raise PolicyConflict("threshold", f"{threshold!r} is not a positive number of seconds")
        self.threshold = threshold
        self.count = 0
        self.blocks: deque[Block] = deque(maxlen=_MOST_BLOCKS)  # the last ones
        self.lags = Histogram()  # how long each sign of life took
        self._watched = bus_or_loop
        self._on_block = on_block
        self._over_s = 0.0  # spent in blocks that are over
        self._stopping = threading.Event()
        self._sign: _Sign | None = None  # the one that is waited for
        self._thread: threading.Thread | None = None
        self._pause = threshold / _BEATS
        self._ident = 0  # the thread of the loop
        self._pid = 0  # the process that it watches in

    @property
    def blocked_s(self) -> float:
        """Seconds that the loop was blocked in all, a block that still lasts included. Never goes down."""
        last = self.blocks[-1] if self.blocks else None
        return self._over_s + (last.blocked_s if last is not None and not last.is_over else 0.0)

    def start(self) -> Self:
        """Begin to watch. Raises `BusNotRunning` when there is no loop yet: start it inside the loop, or give it the loop.

        Raises `WrongProcess` where it was started before a fork: a child makes one of its own.
        """
        if self._thread is not None and self._pid != os.getpid():
            raise WrongProcess("LoopWatchdog.start()", self._pid, "watchdog")
        if self._thread is None:
            self._pid = os.getpid()
            loop = _loop_of(self._watched)
            self._ident = threading.get_ident() if loop is _running_loop() else 0  # else the first sign of life tells
            self._stopping.clear()
            self._thread = threading.Thread(target=self._watch, args=(loop,), name="eventbus-watchdog", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """Watch no more. Returns at once, on the loop too: a sign of life that is still waited for is waited for no longer."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping.set()
            if (sign := self._sign) is not None:
                sign.release()
            thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- the thread ----------------------------------------------------------------------------------------------

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._stopping.wait(self._pause):
            if not loop.is_running():
                continue
            self._sign = sign = _Sign()
            if self._stopping.is_set():
                return  # between the wait and the sign: nobody would release it
            try:
                loop.call_soon_threadsafe(sign.give)
            except RuntimeError:
                return  # the loop is closed
            if (holder := self._holder(sign)) is not None:
                self._blocked(sign, holder)
            if sign.ident:
                self._ident = sign.ident
                self.lags.add(int(sign.after_s * 1e9))

    def _holder(self, sign: _Sign) -> int | None:
        """The thread that kept the loop silent for too long, 0 if it is not known which; None: it was not, or nobody did."""
        limit, cpu_before, all_before = self.threshold - self._pause, _cpu_s(self._ident), time.process_time()
        came = sign.comes(limit)
        if self._stopping.is_set() or (came and sign.after_s < limit):
            return None
        # The sign came late, or we are late ourselves: then somebody computed with the GIL held, which kept us from looking,
        # or the whole process got no processor, for which no handler is to blame.
        busy_s = min(sign.after_s / 2, limit)
        if _cpu_s(self._ident) - cpu_before >= busy_s:
            return self._ident
        came = came or (sign.after_s > limit + self._pause and sign.comes(self._pause))
        if time.process_time() - all_before < busy_s:
            return None if came else self._ident
        stacks = sys._current_frames()  # noqa: SLF001 - its documented name
        del stacks[threading.get_ident()]  # this frame: it would hold itself
        if not came and (self._ident not in stacks or _delivery_in(stacks[self._ident]) is not None):
            return self._ident
        others = (ident for ident in stacks if ident != self._ident and _delivery_in(stacks[ident]) is not None)
        return next(others, 0 if came else self._ident)

    def _blocked(self, sign: _Sign, holder: int) -> None:
        stacks = sys._current_frames()  # noqa: SLF001 - its documented name
        block = _describe(stacks.get(holder), sign.after_s)
        del stacks
        self.count += 1
        self.blocks.append(block)
        log.error(
            "event loop blocked: %s at %s, for %.3f s so far",
            f"{block.subscription} handling {block.type}" if block.subscription else "no delivery",
            block.where,
            block.blocked_s,
            extra={
                "subscription": block.subscription,
                "type": block.type,
                "where": block.where,
                "blocked_s": round(block.blocked_s, 3),
                "loop_stack": block.stack,
            },
        )
        if self._on_block is not None:
            self._on_block(block)
        while not sign.comes(self._pause) and not self._stopping.is_set():
            block.lasts(sign.after_s)
        self._over_s += block.ends(sign.after_s)


class _Sign:
    """One sign of life, asked for in one thread and given in another."""

    def __init__(self) -> None:
        self._asked = time.monotonic()
        self._given: float | None = None
        self._came = threading.Event()
        self.ident = 0

    def give(self) -> None:
        self._given, self.ident = time.monotonic(), threading.get_ident()
        self._came.set()

    def release(self) -> None:
        """Let go who waits for it, whether it comes or not."""
        self._came.set()

    def comes(self, timeout: float) -> bool:
        """Wait for it, at most so long."""
        return self._came.wait(timeout)

    @property
    def after_s(self) -> float:
        """Seconds it took, or has taken so far."""
        return (time.monotonic() if self._given is None else self._given) - self._asked


def _loop_of(watched: Any) -> asyncio.AbstractEventLoop:
    if isinstance(watched, asyncio.AbstractEventLoop):
        return watched
    loop: asyncio.AbstractEventLoop | None = getattr(watched, "loop", None)
    if loop is None:
        loop = _running_loop()
    if loop is None:
        raise BusNotRunning("LoopWatchdog.start()")
    return loop


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _cpu_s(ident: int) -> float:
    """Processor time of a thread; of the process where a thread's is not to be had."""
    if ident and hasattr(time, "pthread_getcpuclockid"):
        try:
            return time.clock_gettime(time.pthread_getcpuclockid(ident))
        except OSError:
            return 0.0  # the thread is gone
    return time.process_time()


def _describe(innermost: FrameType | None, blocked_s: float) -> Block:
    """Who holds the loop, by the mark of a running delivery in a frame of the bus."""
    if innermost is None:
        return Block("", "", "a thread that is gone, or went on", "", blocked_s)
    stack = traceback.extract_stack(innermost, limit=_STACK_FRAMES)
    subscription, event_type = _delivery_in(innermost) or ("", "")
    code = innermost.f_code
    where = f"{code.co_qualname} ({code.co_filename}:{innermost.f_lineno})"
    return Block(subscription, event_type, where, "".join(traceback.format_list(stack)), blocked_s)


def _delivery_in(innermost: FrameType) -> tuple[str, str] | None:
    """The running delivery that a stack is inside of: its subscription, and the type of its event."""
    frame: FrameType | None = innermost
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == _PACKAGE:
            values = frame.f_locals
            cell, event = values.get("cell"), values.get("event")
            delivery = values.get("delivery")
            if isinstance(delivery, Delivery):
                event = delivery.event
            if isinstance(cell, Cell) and cell.at >= 0 and isinstance(event, Event):
                return cell.worker.name, event.type
        frame = frame.f_back
    return None
