"""Crew: every task and every timer of a bus, and the loop they are bound to.

Nothing of a bus runs that is not known here: what is known can be ended. Knows nothing of events.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from eventbus.clock import Clock

T = TypeVar("T")
_ROUNDS = 3  # what is cancelled may start something in its turn
_PATIENCE_S = 0.1


class Crew:
    """Of one bus. It has no loop before the bus ran."""

    def __init__(self, clock: Clock, grace: float) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._clock = clock
        self._patience = min(_PATIENCE_S, grace)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._abandoned: set[asyncio.Task[Any]] = set()

    def bind(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """To this loop from now on. What was bound to another is gone with it."""
        if self.loop is not None and loop is not None:
            self._tasks.clear()
            self._abandoned.clear()
        self.loop = loop

    # --- tasks -----------------------------------------------------------------------------------------------------

    def start(self, coroutine: Coroutine[Any, Any, Any], context: Context | None = None) -> asyncio.Task[Any]:
        """A task of the bus, referenced here until it ends: a task known to nobody may be collected while it waits.

        Not made by the factory of the loop, which may run it at once.
        """
        assert self.loop is not None
        task = asyncio.Task(coroutine, loop=self.loop, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def owns(self, task: asyncio.Task[Any]) -> None:
        """A task that says itself when it ends."""
        self._tasks.add(task)

    def disowns(self, task: asyncio.Task[Any]) -> None:
        """It ends."""
        self._tasks.discard(task)

    def abandon(self, task: asyncio.Task[Any], came_back: Callable[[], None]) -> None:
        """Its handler ignores its cancellation: the task is kept until it ends after all."""
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)
        task.add_done_callback(lambda _task: came_back())

    def run_for_thread(
        self, make: Callable[[], Coroutine[Any, Any, T]], stopped: BaseException
    ) -> concurrent.futures.Future[T]:
        """Run what `make` gives on the loop, in the context of the thread that asks; the future gets what comes of it.

        It gets `stopped` where the crew is ended first.
        """
        told, context = concurrent.futures.Future[T](), copy_context()

        async def run() -> None:
            if not told.set_running_or_notify_cancel():
                return
            try:
                told.set_result(await make())
            except asyncio.CancelledError:
                told.set_exception(stopped)
                raise
            except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the thread that asked
                told.set_exception(error)

        def never_began(_task: asyncio.Task[None]) -> None:
            if not (told.running() or told.done()) and told.set_running_or_notify_cancel():
                told.set_exception(stopped)  # the task was cancelled before its first step

        def begin() -> None:
            self.start(run(), context).add_done_callback(never_began)

        self.call_from_thread(begin, context=context)
        return told

    async def end(self, main: asyncio.Task[None] | None) -> None:
        """Cancel what still runs and give it half the grace of a handler: what ignores that is left to the loop.

        `main` is the run: it ends by itself, and is waited for.
        """
        current = asyncio.current_task()
        for _ in range(_ROUNDS):
            tasks = {task for task in (*self._tasks, *self._abandoned) if task is not current and not task.done()}
            for task in tasks:
                task.cancel()
            if main is not None and not main.done():
                tasks.add(main)
            if not tasks:
                return
            await asyncio.wait(tasks, timeout=self._patience)

    # --- timers ----------------------------------------------------------------------------------------------------

    def call_later(self, seconds: float, call: Callable[..., object], *arguments: Any) -> asyncio.TimerHandle | None:
        """On the loop of the bus; None where there is none that lives."""
        if self.loop is None or self.loop.is_closed():
            return None
        return self.loop.call_later(seconds, call, *arguments)

    def call_soon(self, call: Callable[..., object], *arguments: Any) -> None:
        """With the next turn of the loop; at once where none runs."""
        if self.loop is None or not self.loop.is_running():
            call(*arguments)
        else:
            self.loop.call_soon(call, *arguments)

    def call_from_thread(self, call: Callable[..., object], *arguments: Any, context: Context | None = None) -> None:
        """On the loop, asked for by any thread. Raises `RuntimeError` when it is closed."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(call, *arguments, context=context)

    def deadline_in(self, seconds: float | None) -> float | None:
        """So many seconds from now, in the time of the loop."""
        return None if seconds is None or self.loop is None else self.loop.time() + seconds

    @property
    def loop_ahead_s(self) -> float:
        """What the clock of the loop shows more than the bus's."""
        return 0.0 if self.loop is None else self.loop.time() - self._clock.monotonic_ns() / 1e9

    def is_closing(self, error: BaseException) -> bool:
        """Is this the end of a coroutine whose loop is gone? While the loop runs, a handler raised it like any other."""
        return isinstance(error, GeneratorExit) and (self.loop is None or not self.loop.is_running())
