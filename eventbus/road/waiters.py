"""Waiters: those who wait for one thing, which happens to all of them at once. Who gives up leaves nothing behind.

A list, for hot loops ask whether anybody is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Waiters(list[asyncio.Future[None]]):
    """For one thing, of the loop that runs."""

    @contextmanager
    def one(self) -> Iterator[asyncio.Future[None]]:
        """One more, for as long as it waits."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.append(waiter)
        try:
            yield waiter
        finally:
            if waiter in self:
                self.remove(waiter)

    def wake(self, error: BaseException | None = None) -> None:
        """It happened; or it never will, for this reason."""
        waiting = [*self]
        self.clear()
        for waiter in waiting:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
