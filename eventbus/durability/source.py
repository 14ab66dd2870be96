"""Source: where durable groups read, and where what became of it is kept. One over a journal here; `groups_in_memory` has the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Protocol

from eventbus.codec import decoder
from eventbus.durability.aside import new_dead_letter
from eventbus.durability.event_cache import EventCache, Found
from eventbus.event import hops_of
from eventbus.journal.shared import Part

if TYPE_CHECKING:
    from eventbus.clock import Clock
    from eventbus.durability.quarantine import Quarantine
    from eventbus.durability.share import News
    from eventbus.errors import LeaseLost
    from eventbus.journal.protocol import Journal
    from eventbus.journal.shared import Lease, Sharing
    from eventbus.journal.values import Cursor, Record, Start
    from eventbus.road.burst import Burst

_NO_CONTEXT = Context()


class Source(Protocol):
    """What groups read, and commit to."""

    @property
    def last(self) -> int:
        """The newest place there is."""
        ...

    def place_of(self, burst: Burst) -> int | None:
        """Where the first event is of a burst that is dispatched now; None: it is not there."""
        ...

    async def open_part(self, lease: Lease, start: Start) -> Cursor:
        """The cursor of a part, made at `start` if it is new. Raises `ValueError` for a start that is none, and `LeaseLost`."""
        ...

    async def fetch(self, after: int, limit: int) -> Sequence[Found | Record]:
        """What follows, as it is kept. Raises `OffsetGone`."""
        ...

    def found(self, fetched: Sequence[Found | Record]) -> Iterator[Found]:
        """The same as events, each when it is asked for: what is never come to is not read."""
        ...

    async def wait(self, after: int) -> None:
        """Wait until something follows, or whoever waits is to look up."""
        ...

    async def record_attempts(self, lease: Lease, offsets: Sequence[int]) -> Mapping[int, int]:
        """Count one attempt for each, and give the counts. Raises `LeaseLost`."""
        ...

    async def commit(self, news: Sequence[News]) -> Sequence[int | LeaseLost]:
        """Keep what became of deliveries, of each part all at once; gives its floor, or that it is another's by now."""
        ...


class JournalSource:
    """Of a journal, and of what passed lately on its way there."""

    def __init__(self, journal: Journal, sharing: Sharing, quarantine: Quarantine, clock: Clock) -> None:
        self._journal = journal
        self._sharing = sharing
        self._quarantine = quarantine
        self._clock = clock
        self._cache = EventCache()

    def entered(self, burst: Burst) -> None:
        """A burst is durable, and about to be dispatched."""
        if burst.offset is not None:
            self._cache.remember(burst.offset, burst)

    def forget(self) -> None:
        """Places are others from now on."""
        self._cache = EventCache()

    @property
    def last(self) -> int:
        return self._journal.last

    def place_of(self, burst: Burst) -> int | None:
        return burst.offset

    async def open_part(self, lease: Lease, start: Start) -> Cursor:
        return await self._sharing.open_part(lease, start)

    async def fetch(self, after: int, limit: int) -> Sequence[Found | Record]:
        lately = self._cache.following(after, limit)
        return lately if lately or after >= self.last else await self._journal.read(after, limit)

    def found(self, fetched: Sequence[Found | Record]) -> Iterator[Found]:
        """How long ago an old event was accepted, on the clock that measures, its label tells."""
        now_ns, label_ns = self._clock.monotonic_ns(), int(self._clock.now().timestamp() * 1e9)
        read = decoder()
        for each in fetched:
            if isinstance(each, Found):
                yield each
                continue
            offset, oldest = each.offset, self._cache.oldest
            if oldest is not None and offset >= oldest and (known := self._cache.following(offset - 1, 1)):
                yield known[0]
                continue
            event, unreadable = self._quarantine.try_to_read(each, read)
            accepted_ns = now_ns - max(0, label_ns - each.time_ns)
            hops = 0 if event is None else hops_of(event)
            yield Found(offset, event, _NO_CONTEXT, hops, accepted_ns, -offset, unreadable, each.event_id)

    async def wait(self, after: int) -> None:
        await self._journal.wait(after)

    async def record_attempts(self, lease: Lease, offsets: Sequence[int]) -> Mapping[int, int]:
        return await self._sharing.record_part_attempts(lease, offsets)

    async def commit(self, news: Sequence[News]) -> Sequence[int | LeaseLost]:
        return await self._sharing.commit_parts([_as_part(each) for each in news])


def _as_part(news: News) -> Part:
    letters = [new_dead_letter(letter, offset) for letter, offset in news.dead]
    return Part(news.lease, news.settled, news.skipped, letters, news.quarantined)
