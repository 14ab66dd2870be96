"""Tail source: what groups read where processes share a journal: what the tail read lately, and the journal for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus.durability.source import JournalSource
from eventbus.road.waiters import Waiters

if TYPE_CHECKING:
    from eventbus.durability.tail import Tail
    from eventbus.road.burst import Burst


class TailSource(JournalSource):
    """Of one process. It reads what the tail has read: twice it need not be. While nobody takes that from the tail, groups go on."""

    _tail: Tail
    _waiting: Waiters

    def follows(self, tail: Tail) -> None:
        """From the beginning on."""
        self._tail, self._waiting = tail, Waiters()

    @property
    def last(self) -> int:
        return self._journal.last if self._tail.is_crowded else self._tail.at

    def place_of(self, burst: Burst) -> int | None:
        return None if burst.is_foreign else burst.offset

    def moved(self) -> None:
        """There is more, or another part to read for."""
        self._waiting.wake()

    async def wait(self, after: int) -> None:
        if self.last > after:
            return
        if self._tail.is_crowded:
            await self._journal.wait(after, self._tail.poll)
            return
        with self._waiting.one() as waiter:
            await waiter
