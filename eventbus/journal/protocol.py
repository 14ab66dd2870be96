"""What every journal can do: the one protocol that each backend fulfils and that the bus speaks.

Knows the values that go in and out, and nothing of how they are kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from eventbus.journal.values import (
    Append,
    Appended,
    Cursor,
    DeadLetterRecord,
    Durability,
    JournalStats,
    NewDeadLetter,
    NewQuarantined,
    Quarantined,
    Record,
    Settled,
    SettledDelivery,
    Start,
    Trimmed,
    Verified,
)


class Journal(Protocol):
    """A durable log. Methods are called on the loop that opened it, and never block it.

    Everything that changes the journal raises `JournalUnavailable` when nothing was changed, and `OutcomeUnknown` when
    that cannot be told; reading goes on as long as there is anything to read from.
    """

    @property
    def capabilities(self) -> frozenset[str]:
        """What this backend can do, by name."""
        ...

    @property
    def durability(self) -> Durability:
        """What an acknowledged record survives."""
        ...

    @property
    def first(self) -> int:
        """The oldest offset kept; `last + 1` when empty."""
        ...

    @property
    def last(self) -> int:
        """The newest acknowledged offset; 0 before the first."""
        ...

    async def open(self) -> None:
        """Take the journal. Raises `JournalInUse`, `JournalDamaged`, `JournalUnavailable`."""
        ...

    async def close(self) -> None:
        """Finish what was asked, then let go. May be called twice."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def append(self, batch: Sequence[Append]) -> Awaitable[Sequence[Appended]]:
        """Keep all of the batch or nothing; answered when it is durable.

        A known id with the same body is a duplicate and gives its first offset; with another body, `IdConflict`.
        """
        ...

    async def read(
        self, after: int, limit: int = 1000, *, types: Iterable[str] | None = None, until: int | None = None
    ) -> list[Record]:
        """Records with `after < offset <= until`, oldest first. `types` are names or wildcards. Raises `OffsetGone`."""
        ...

    async def bodies(self, after: int, limit: int = 1000, *, until: int | None = None) -> list[tuple[int, bytes]]:
        """Offset and body of what `read` would give, for those who look inside anyway. Raises `OffsetGone`."""
        ...

    async def find(self, event_id: str) -> Record | None:
        """The record with this id."""
        ...

    async def related(self, correlation_id: str, limit: int = 10_000) -> list[Record]:
        """The record with this id and the records of its causal tree, oldest first."""
        ...

    async def seek(self, time_ns: int) -> int:
        """The offset to read after, so that the first record comes that is labelled `time_ns` or later."""
        ...

    async def wait(self, after: int, timeout: float | None = None) -> bool:
        """Wait until there is a record beyond `after`. False after `timeout` seconds, or when the journal closes."""
        ...

    async def open_group(self, group: str, start: Start = "end") -> Cursor:
        """The cursor of this group, made at `start` if it is new. Raises `OffsetGone` if that was removed."""
        ...

    async def committed(self, group: str) -> Cursor | None:
        """The cursor of this group, None if there is none."""
        ...

    async def drop_group(self, group: str) -> bool:
        """Forget a group, so that it holds retention back no longer."""
        ...

    async def record_attempts(self, group: str, offsets: Sequence[int]) -> Mapping[int, int]:
        """Count one attempt for each offset, durably, and give the counts. Await it before the attempts start."""
        ...

    async def commit(
        self,
        group: str,
        settled: Sequence[Settled] = (),
        *,
        skip: Sequence[tuple[int, int]] = (),
        dead: Sequence[NewDeadLetter] = (),
        quarantined: Sequence[NewQuarantined] = (),
    ) -> int:
        """Settle deliveries, `skip` inclusive ranges nobody listens to, keep what died, all at once. Gives the floor.

        The floor moves over contiguous settled offsets only; what settles out of order is remembered. Settling twice
        changes nothing and is counted.
        """
        ...

    async def add_dead_letters(self, letters: Sequence[NewDeadLetter]) -> list[int]:
        """Keep dead letters of deliveries without a group. Gives their ids."""
        ...

    async def dead_letters(
        self, after: int = 0, limit: int = 100, *, subscription: str | None = None, redriven: bool = False
    ) -> list[DeadLetterRecord]:
        """Dead letters with `id > after`, oldest first; with `redriven` those that were published again too."""
        ...

    async def count_dead_letters(self, *, subscription: str | None = None, redriven: bool = False) -> int:
        """How many `dead_letters()` would give without a limit."""
        ...

    async def mark_redriven(self, ids: Sequence[int]) -> int:
        """Mark dead letters as published again. Gives how many were not marked before."""
        ...

    async def purge_dead_letters(self, ids: Sequence[int] | None = None) -> int:
        """Remove these dead letters, or all. Gives how many there were."""
        ...

    async def add_quarantined(self, items: Sequence[NewQuarantined]) -> list[int]:
        """Keep bytes that could not be read. Gives their ids."""
        ...

    async def quarantined(self, after: int = 0, limit: int = 100) -> list[Quarantined]:
        """Quarantined bytes with `id > after`, oldest first."""
        ...

    async def set_values(self, space: str, values: Mapping[str, bytes | None]) -> None:
        """Keep small values by name; None removes. Latches and retained events live here."""
        ...

    async def values(self, space: str) -> dict[str, bytes]:
        """All values of a space."""
        ...

    async def outcomes(self, offsets: Sequence[int]) -> list[SettledDelivery]:
        """How the deliveries of these records ended, as far as it was kept."""
        ...

    async def trim(
        self,
        *,
        before_ns: int | None = None,
        max_bytes: int | None = None,
        before: int | None = None,
        force: bool = False,
    ) -> Trimmed:
        """Remove the oldest records: those labelled before a time, beyond a size, or below an offset.

        Whole batches at a time, as they were committed, so a little more may be left than was asked for.
        Stops below the slowest group unless forced; groups that were overtaken get `OffsetGone` at their next read.
        """
        ...

    async def compact(self) -> int:
        """Give the space of what was removed back; others wait meanwhile. Gives the bytes that the journal takes then."""
        ...

    async def verify(self) -> Verified:
        """Read everything and check it. Raises `JournalDamaged` naming the first bad record."""
        ...

    def stats(self) -> JournalStats:
        """Counters and sizes; never waits."""
        ...
