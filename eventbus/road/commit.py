"""Commit: the end of a burst's way into a journal, and those who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


class NotYet(Exception):
    """Nobody knows by now whether it is durable."""


class Commit:
    """Of one burst. What was said first stands."""

    __slots__ = ("_error", "_is_done", "_timer", "_waiters")

    def __init__(self) -> None:
        self._is_done = False
        self._error: BaseException | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, within: float | None = None) -> Awaitable[None]:
        """Done when the burst is durable. Raises why it never will be, and `NotYet` so many seconds after the first waiter came.

        One timer for all of them: who waits for one event of many would have a thousand otherwise.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        if self._is_done:
            _tell(waiter, self._error)
        else:
            self._waiters.append(waiter)
            if within is not None and self._timer is None:
                self._timer = loop.call_later(within, self._expire)
        return waiter

    def _expire(self) -> None:
        self._timer = None
        self._tell_all(NotYet())

    def resolve(self, error: BaseException | None) -> None:
        """It is durable, or never will be."""
        if not self._is_done:
            self._is_done, self._error = True, error
            if self._timer is not None:
                self._timer.cancel()
            self._tell_all(error)

    def _tell_all(self, error: BaseException | None) -> None:
        for waiter in self._waiters:
            _tell(waiter, error)
        self._waiters.clear()


def _tell(waiter: asyncio.Future[None], error: BaseException | None) -> None:
    if waiter.done():  # cancelled: the event goes its way all the same
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error)
