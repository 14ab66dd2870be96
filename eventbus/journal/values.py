"""What a journal takes and gives: records, deliveries, cursors, dead letters, counters. Plain values, the same for every backend.

A record is bytes under an id, an offset and some labels; nobody here looks inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple, overload

TEXT_CAP = 8 * 1024
"""Bytes of UTF-8 kept of a reason or an error text."""


def capped(text: str) -> str:
    """As much of a reason or an error text as is kept."""
    return text.encode("utf-8", "replace")[:TEXT_CAP].decode("utf-8", "ignore")


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
        if offset <= self.floor or not self.settled:
            return offset <= self.floor
        return any(first <= offset <= last for first, last in self.settled)


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

    def capped(self) -> NewDeadLetter:
        """As much of it as is kept."""
        return self._replace(reason=capped(self.reason), error=capped(self.error))


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

    def capped(self) -> NewQuarantined:
        """As much of it as is kept."""
        return self._replace(reason=capped(self.reason))


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

    `blocked_checkpoints` counts the times that somebody who reads for long kept the journal from tidying up.
    """

    first: int
    last: int
    appended: int
    duplicates: int
    commits: int
    largest_commit: int
    checkpoints: int
    blocked_checkpoints: int
    stale_acks: int
    file_bytes: int
    log_bytes: int
    failure: str | None
