"""Groups in memory: what durable subscriptions read on a bus without a journal, so that they can be tried there.

Events stay from dispatch until every group has finished them, at most `MOST_EVENTS` and twice as many for a moment. A group
that is further behind loses the oldest: it counts and logs them when it comes to them. Nothing survives the process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from eventbus.durability.event_cache import EventCache, Found
from eventbus.errors import OffsetGone
from eventbus.journal.parts import part_name
from eventbus.journal.progress import GroupProgress
from eventbus.journal.shared import Lease
from eventbus.road.burst import SEALED
from eventbus.road.waiters import Waiters

if TYPE_CHECKING:
    from eventbus.durability.group import Group
    from eventbus.durability.share import News
    from eventbus.errors import LeaseLost
    from eventbus.journal.values import Cursor, Record, Start
    from eventbus.road.burst import Burst

MOST_EVENTS = 100_000


class MemorySource:
    """What was dispatched since the first group came, and how far each group is."""

    def __init__(self) -> None:
        self._cache = EventCache(MOST_EVENTS)
        self._progress: dict[str, GroupProgress] = {}
        self._since: dict[str, int] = {}  # the first burst that was accepted for a group
        self._last = 0
        self._burst = SEALED  # the one that is dispatched now, and where it begins
        self._first = 0
        self._waiting = Waiters()

    def dispatched(self, burst: Burst) -> None:
        """A burst is about to be dealt out."""
        self._burst, self._first = burst, self._last + 1
        self._cache.remember(self._first, burst)
        self._last += len(burst.events)
        self._waiting.wake()

    @property
    def last(self) -> int:
        return self._last

    def place_of(self, burst: Burst) -> int | None:
        return self._first if burst is self._burst else None

    def begin(self, group: str, number: int) -> int:
        """A group that is new begins now, with the burst of that number; gives the number it began with."""
        self._progress.setdefault(group, GroupProgress(group, self._last))
        return self._since.setdefault(group, number)

    async def open_part(self, lease: Lease, start: Start) -> Cursor:
        return self._of(lease).cursor()

    async def fetch(self, after: int, limit: int) -> Sequence[Found]:
        oldest = self._cache.oldest
        if oldest is not None and after + 1 < oldest:
            raise OffsetGone(after + 1, oldest)
        return self._cache.following(after, limit)

    def found(self, fetched: Sequence[Found | Record]) -> Iterator[Found]:
        return (each for each in fetched if isinstance(each, Found))  # it fetches nothing else

    async def wait(self, after: int) -> None:
        if self._last > after:
            return
        with self._waiting.one() as waiter:
            await waiter

    async def record_attempts(self, lease: Lease, offsets: Sequence[int]) -> Mapping[int, int]:
        return self._of(lease).begin(offsets)

    async def commit(self, news: Sequence[News]) -> Sequence[int | LeaseLost]:
        for lease, settled, skipped, _dead, _quarantined in news:
            progress = self._of(lease)
            progress.settle(settled)
            progress.skip(skipped)
        self._cache.forget(min(each.floor for each in self._progress.values()))
        return [self._of(lease).floor for lease, *_ in news]

    def _of(self, lease: Lease) -> GroupProgress:
        return self._progress[lease.name.rpartition("/")[0]]


class MemoryHolding:
    """Every group has one part, and gets it at once."""

    async def begin(self, group: Group) -> None:
        if not group.shares:
            await group.gained(Lease(part_name(group.name, 0), 1, math.inf), math.inf)

    async def ready(self, group: Group) -> None:
        """It is the only process: nobody else has to know."""

    async def let_go(self, group: Group) -> None:
        """Nobody else waits for it."""

    def lost(self, lease: Lease) -> None:
        """It never is."""
