"""Source: where durable groups read, and where what became of it is kept. One over a journal here; `groups_in_memory` has the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Protocol

from eventbus.durability.aside import as_kept
from eventbus.durability.recent import Found, Recent
from eventbus.journal.shared import Part

if TYPE_CHECKING:
    from eventbus.clock import Clock
    from eventbus.durability.quarantine import Quarantine
    from eventbus.durability.share import News
    from eventbus.errors import LeaseLost
    from eventbus.journal.protocol import Journal
    from eventbus.journal.shared import Lease, Sharing
    from eventbus.journal.values import Cursor, Start
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

    async def read(self, after: int, limit: int) -> list[Found]:
        """What follows. Raises `OffsetGone`."""
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
        self._recent = Recent()

    def entered(self, burst: Burst) -> None:
        """A burst is durable, and about to be dispatched."""
        if burst.offset is not None:
            self._recent.remember(burst.offset, burst)

    def forget(self) -> None:
        """Places are others from now on."""
        self._recent = Recent()

    @property
    def last(self) -> int:
        return self._journal.last

    def place_of(self, burst: Burst) -> int | None:
        return burst.offset

    async def open_part(self, lease: Lease, start: Start) -> Cursor:
        return await self._sharing.open_part(lease, start)

    async def read(self, after: int, limit: int) -> list[Found]:
        """How long ago an old event was accepted, on the clock that measures, its label tells."""
        lately = self._recent.following(after, limit)
        if lately or after >= self.last:
            return lately
        records = await self._journal.read(after, limit)
        now_ns, label_ns = self._clock.monotonic_ns(), int(self._clock.now().timestamp() * 1e9)
        found = list[Found]()
        for record in records:
            known = self._recent.following(record.offset - 1, 1)
            if known:
                found += known
                continue
            event, unreadable = self._quarantine.try_to_read(record)
            accepted_ns = now_ns - max(0, label_ns - record.time_ns)
            found.append(
                Found(record.offset, event, _NO_CONTEXT, 0, accepted_ns, -record.offset, unreadable, record.event_id)
            )
        return found

    async def wait(self, after: int) -> None:
        await self._journal.wait(after)

    async def record_attempts(self, lease: Lease, offsets: Sequence[int]) -> Mapping[int, int]:
        return await self._sharing.record_part_attempts(lease, offsets)

    async def commit(self, news: Sequence[News]) -> Sequence[int | LeaseLost]:
        return await self._sharing.commit_parts([_as_part(each) for each in news])


def _as_part(news: News) -> Part:
    letters = [as_kept(letter, offset) for letter, offset in news.dead]
    return Part(news.lease, news.settled, news.skipped, letters, news.quarantined)
