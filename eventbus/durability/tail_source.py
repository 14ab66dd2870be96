"""Tail source: what groups read where processes share a journal: what the tail read lately, and the journal for the rest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from eventbus.durability.source import JournalSource

if TYPE_CHECKING:
    from eventbus.durability.tail import Tail
    from eventbus.road.burst import Burst


class TailSource(JournalSource):
    """Of one process. It reads what the tail has read: twice it need not be. While nobody takes that from the tail, groups go on."""

    _tail: Tail
    _waiting: list[asyncio.Future[None]]

    def follows(self, tail: Tail) -> None:
        """From the beginning on."""
        self._tail, self._waiting = tail, []

    @property
    def last(self) -> int:
        return self._journal.last if self._tail.is_crowded else self._tail.at

    def place_of(self, burst: Burst) -> int | None:
        return None if burst.is_foreign else burst.offset

    def moved(self) -> None:
        """There is more, or another part to read for."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, after: int) -> None:
        if self.last > after:
            return
        if self._tail.is_crowded:
            await self._journal.wait(after, self._tail.poll)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiting:  # it gave up
                self._waiting.remove(waiter)
