"""What a journal is: the values it takes and gives, and the protocol that every backend fulfils.

The bus speaks to this module only. A journal keeps bytes under an id, an offset and some labels; it never looks inside.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol, overload

TEXT_CAP = 8 * 1024
"""Bytes of UTF-8 kept of a reason or an error text."""


class Durability(StrEnum):
    """The worst that an acknowledged record survives."""

    MEMORY = "memory"
    PROCESS_CRASH = "process_crash"
    POWER_LOSS = "power_loss"
    BROKER_DEFINED = "broker_defined"


class Status(StrEnum):
    """How one delivery ended."""

    SUCCEEDED = "succeeded"
    DEAD_LETTERED = "dead_lettered"
    DROPPED = "dropped"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Append(NamedTuple):
    """One record on its way in. `time_ns` is a wall-clock label (nanoseconds since 1970) and orders nothing.

    With `retain` the body also becomes the value of that name in the space `RETAINED`, in the same transaction.
    """

    event_id: str
    type: str
    version: int
    kind: str
    key: str | None
    time_ns: int
    correlation_id: str | None
    causation_id: str | None
    body: bytes
    retain: str | None = None


class Record(NamedTuple):
    """One record as it is kept. Offsets start at 1 and have no holes."""

    offset: int
    event_id: str
    type: str
    version: int
    kind: str
    key: str | None
    time_ns: int
    correlation_id: str | None
    causation_id: str | None
    body: bytes


class Appended(NamedTuple):
    """Where a record is. `duplicate` says that this id with this body was there before."""

    offset: int
    duplicate: bool = False


class NewRecords(Sequence[Appended]):
    """`Appended` for records that are all new and follow each other: no object for each before somebody looks at it."""

    __slots__ = ("_offsets",)

    def __init__(self, offsets: range) -> None:
        self._offsets = offsets

    @overload
    def __getitem__(self, index: int) -> Appended: ...
    @overload
    def __getitem__(self, index: slice) -> NewRecords: ...
    def __getitem__(self, index: int | slice) -> Appended | NewRecords:
        if isinstance(index, slice):
            return NewRecords(self._offsets[index])
        return Appended(self._offsets[index])

    def __len__(self) -> int:
        return len(self._offsets)

    def __eq__(self, other: object) -> bool:
        return list(self) == other if isinstance(other, list) else self is other

    __hash__ = None  # type: ignore[assignment] # it equals lists


Start = Literal["beginning", "end"] | int
"""Where a new group begins: the oldest record kept, after the newest, or after this offset."""

RETAINED = "retained"
"""The space of `values()` that holds retained bodies."""


class Settled(NamedTuple):
    """One delivery that reached its end, with the nanoseconds it was queued and ran, where known."""

    offset: int
    status: str = Status.SUCCEEDED
    attempts: int = 1
    queued_ns: int | None = None
    ran_ns: int | None = None


class SettledDelivery(NamedTuple):
    """A `Settled` as it is kept, with its group."""

    group: str
    offset: int
    status: str
    attempts: int
    queued_ns: int | None
    ran_ns: int | None


@dataclass(frozen=True, slots=True)
class Cursor:
    """What one group has finished: every offset up to `floor`, and the ranges in `settled` above it.

    `attempts` counts the attempts that began on offsets not settled yet, this process or an earlier one. `totals`
    counts settled deliveries by status since the group was made.
    """

    group: str
    floor: int
    settled: tuple[tuple[int, int], ...] = ()
    attempts: Mapping[int, int] = field(default_factory=dict)
    totals: Mapping[str, int] = field(default_factory=dict)

    def is_settled(self, offset: int) -> bool:
        """Whether the delivery of this offset reached its end."""
        return offset <= self.floor or any(first <= offset <= last for first, last in self.settled)


class NewDeadLetter(NamedTuple):
    """A delivery that nobody could handle. `offset` is None for a record that is not in the journal."""

    subscription: str
    event_id: str
    type: str
    offset: int | None
    reason: str
    error: str
    attempts: int
    first_failed_ns: int
    last_failed_ns: int
    body: bytes


class DeadLetterRecord(NamedTuple):
    """A dead letter as it is kept. `redriven` says that it was published again."""

    id: int
    subscription: str
    event_id: str
    type: str
    offset: int | None
    reason: str
    error: str
    attempts: int
    first_failed_ns: int
    last_failed_ns: int
    body: bytes
    redriven: bool


class NewQuarantined(NamedTuple):
    """Bytes that could not be read as an event."""

    offset: int | None
    reason: str
    time_ns: int
    raw: bytes


class Quarantined(NamedTuple):
    """Quarantined bytes as they are kept."""

    id: int
    offset: int | None
    reason: str
    time_ns: int
    raw: bytes


class Trimmed(NamedTuple):
    """What retention removed, the oldest offset that is left, and the groups that lost records they had not read."""

    removed: int
    first: int
    overtaken: tuple[str, ...] = ()


class Verified(NamedTuple):
    """The journal was read whole and is sound. `digest` stands for every record from the first to the last."""

    first: int
    last: int
    records: int
    digest: str


@dataclass(frozen=True, slots=True)
class JournalStats:
    """Counters since the journal was opened, and its present size. `failure` is None while it can be written.

    `held_back` counts the times that somebody who reads for long kept the journal from tidying up.
    """

    first: int
    last: int
    appended: int
    duplicates: int
    commits: int
    largest_commit: int
    checkpoints: int
    held_back: int
    stale_acks: int
    file_bytes: int
    log_bytes: int
    failure: str | None


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

    async def verify(self) -> Verified:
        """Read everything and check it. Raises `JournalDamaged` naming the first bad record."""
        ...

    def stats(self) -> JournalStats:
        """Counters and sizes; never waits."""
        ...
