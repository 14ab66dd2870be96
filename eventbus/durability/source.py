"""Source: where durable groups read, and where what became of it is kept. One over a journal here; `groups_in_memory` has the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Protocol

from eventbus.durability.aside import as_kept
from eventbus.durability.recent import Found, Recent

if TYPE_CHECKING:
    from eventbus.clock import Clock
    from eventbus.dead_letter import DeadLetter
    from eventbus.durability.quarantine import Quarantine
    from eventbus.journal.protocol import Journal
    from eventbus.journal.values import Cursor, NewQuarantined, Settled, Start
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

    async def open_group(self, group: str, start: Start) -> Cursor:
        """The cursor of a group, made at `start` if it is new. Raises `ValueError` for a start that is none."""
        ...

    async def read(self, after: int, limit: int) -> list[Found]:
        """What follows. Raises `OffsetGone`."""
        ...

    async def wait(self, after: int) -> None:
        """Wait until something follows."""
        ...

    async def record_attempts(self, group: str, offsets: Sequence[int]) -> Mapping[int, int]:
        """Count one attempt for each, and give the counts."""
        ...

    async def commit(
        self,
        group: str,
        settled: Sequence[Settled],
        skipped: Sequence[tuple[int, int]],
        dead: Sequence[tuple[DeadLetter, int]],
        quarantined: Sequence[NewQuarantined],
    ) -> None:
        """Keep what became of deliveries, all at once."""
        ...


class JournalSource:
    """Of a journal, and of what passed lately on its way there."""

    def __init__(self, journal: Journal, quarantine: Quarantine, clock: Clock) -> None:
        self._journal = journal
        self._quarantine = quarantine
        self._clock = clock
        self._recent = Recent()

    def entered(self, burst: Burst) -> None:
        """A burst is durable, and about to be dispatched."""
        if burst.offset is not None:
            self._recent.remember(burst.offset, burst)

    @property
    def last(self) -> int:
        return self._journal.last

    def place_of(self, burst: Burst) -> int | None:
        return burst.offset

    async def open_group(self, group: str, start: Start) -> Cursor:
        return await self._journal.open_group(group, start)

    async def read(self, after: int, limit: int) -> list[Found]:
        """How long ago an old event was accepted, on the clock that measures, its label tells."""
        lately = self._recent.following(after, limit)
        if lately or after >= self._journal.last:
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
            found.append(Found(record.offset, event, _NO_CONTEXT, 0, accepted_ns, -record.offset, unreadable))
        return found

    async def wait(self, after: int) -> None:
        await self._journal.wait(after)

    async def record_attempts(self, group: str, offsets: Sequence[int]) -> Mapping[int, int]:
        return await self._journal.record_attempts(group, offsets)

    async def commit(
        self,
        group: str,
        settled: Sequence[Settled],
        skipped: Sequence[tuple[int, int]],
        dead: Sequence[tuple[DeadLetter, int]],
        quarantined: Sequence[NewQuarantined],
    ) -> None:
        letters = [as_kept(letter, offset) for letter, offset in dead]
        await self._journal.commit(group, settled, skip=skipped, dead=letters, quarantined=quarantined)
