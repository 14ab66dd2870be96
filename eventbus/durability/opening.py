"""Opening: a journal is taken once, by whoever needs it first; everybody else waits for the same. Knows nothing of its contents."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from eventbus.errors import BusStopped

if TYPE_CHECKING:
    from eventbus.road.lifetime import Lifetime


class Opening:
    """Of one journal. `take` opens it and takes over what an earlier process left there."""

    def __init__(self, lifetime: Lifetime, take: Callable[[], Awaitable[None]]) -> None:
        self._lifetime = lifetime
        self._take = take
        self.is_taken = False  # or about to be
        self._task: asyncio.Task[None] | None = None
        self.is_open = False

    async def open(self, call: str = "the journal") -> None:
        """Return when it is open. Raises what stands in the way, `BusStopped` after a shutdown, `WrongProcess` in a fork."""
        self.must_own(call)
        if self.is_open:
            return
        if self._lifetime.is_shut:
            raise BusStopped(call)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._open())
        await asyncio.shield(self._task)

    def must_own(self, call: str) -> None:
        """Raise `WrongProcess` in a fork of the process that opened it."""
        if self.is_taken:
            self._lifetime.must_be_here(call)

    async def ended(self) -> None:
        """Wait until an opening that was begun has ended, one way or the other."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def closed(self) -> None:
        """It was let go."""
        self.is_open = False

    async def _open(self) -> None:
        self.is_taken = True
        await self._take()
        self.is_open = True
