"""Commit: the end of a burst's way into a journal, and those who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


class Commit:
    """Of one burst. What was said first stands."""

    __slots__ = ("_error", "_is_done", "_waiters")

    def __init__(self) -> None:
        self._is_done = False
        self._error: BaseException | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def wait(self) -> Awaitable[None]:
        """Done when the burst is durable. Raises why it never will be."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._is_done:
            _tell(waiter, self._error)
        else:
            self._waiters.append(waiter)
        return waiter

    def resolve(self, error: BaseException | None) -> None:
        """It is durable, or never will be."""
        if not self._is_done:
            self._is_done, self._error = True, error
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
