"""Storage: what a server has to do for a journal, call by call. The face of the journal, which is the same for all, is `journal`.

Each call ends within a deadline of its own. `JournalUnavailable`: nothing was changed, and `NotConnected` that nothing was even sent;
`OutcomeUnknown`: that cannot be told; `BackendDataLoss`: the server has less than it had.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from eventbus.errors import JournalUnavailable

if TYPE_CHECKING:
    from eventbus.journal.remote.arrivals import Arrivals
    from eventbus.journal.remote.cursors import Row, Shelf
    from eventbus.journal.shared import Lease
    from eventbus.journal.values import (
        Append,
        Appended,
        DeadLetterRecord,
        Durability,
        NewDeadLetter,
        NewQuarantined,
        NewRecords,
        Quarantined,
        Record,
        SettledDelivery,
        Start,
    )


class NotConnected(JournalUnavailable):
    """No connection was had in time: nothing was sent."""


class Reach(Protocol):
    """A server, from here."""

    place: str  # for people, without any secret
    timeout_s: float  # the deadline of a call
    failure: str | None  # why it cannot be reached; None while it can, as far as is known


class Storage(Protocol):
    """One log on one server. What is not explained is as the method of `Journal` or `Sharing` of that name."""

    @property
    def server(self) -> Reach:
        """Where it is."""
        ...

    @property
    def capabilities(self) -> frozenset[str]: ...

    @property
    def durability(self) -> Durability: ...

    async def open(self, arrivals: Arrivals) -> None:
        """Connect, make what is not there, and say by `arrivals.stands` how the log stands: now, and on each new connection."""
        ...

    async def close(self) -> None: ...

    async def look(self) -> None:
        """Say by `arrivals.stands` how the log stands."""
        ...

    async def watch(self, channels: Collection[str], told: Callable[[str, bytes], None]) -> None:
        """Until cancelled: look whenever it is hinted and now and then, and pass on what is told on the channels, which may change."""
        ...

    async def hint(self) -> None:
        """Tell the others that the log has grown. May be lost."""
        ...

    async def append(self, batch: Sequence[Append]) -> NewRecords | None:
        """Append records that are all new; None if one of them is not, and then nothing is changed."""
        ...

    async def append_carefully(self, batch: Sequence[Append]) -> Sequence[Appended]:
        """Append what is not there yet. Raises `IdConflict` before anything is changed."""
        ...

    async def read(self, after: int, limit: int, types: Iterable[str] | None, until: int | None) -> list[Record]:
        """Each with the checksum that it was appended with, or `JournalDamaged`."""
        ...

    async def bodies(self, after: int, limit: int, until: int | None) -> list[tuple[int, bytes]]: ...

    async def find(self, event_id: str) -> Record | None: ...

    async def related(self, correlation_id: str, limit: int) -> list[Record]: ...

    async def seek(self, time_ns: int) -> int: ...

    async def trim(self, cut: int, force: bool) -> tuple[int, int]:
        """Remove the oldest records up to `cut`, a page of them. Gives how many, and the oldest that is left."""
        ...

    async def open_cursor(self, name: str, start: Start, token: int) -> Row:
        """The row of a cursor, made at `start` if it is new. With a token other than 0 its lease must be held: `LeaseLost`."""
        ...

    async def drop_group(self, group: str) -> bool:
        """With all of its parts."""
        ...

    @property
    def shelf(self) -> Shelf:
        """Where the cursors are."""
        ...

    async def outcomes(self, offsets: Sequence[int]) -> list[SettledDelivery]: ...

    async def add_dead_letters(self, letters: Sequence[NewDeadLetter]) -> list[int]: ...

    async def dead_letters(
        self, after: int, limit: int, subscription: str | None, redriven: bool
    ) -> list[DeadLetterRecord]: ...

    async def count_dead_letters(self, subscription: str | None, redriven: bool) -> int: ...

    async def mark_redriven(self, ids: Sequence[int]) -> int: ...

    async def purge_dead_letters(self, ids: Sequence[int] | None) -> int: ...

    async def add_quarantined(self, items: Sequence[NewQuarantined]) -> list[int]: ...

    async def quarantined(self, after: int, limit: int) -> list[Quarantined]: ...

    async def count_quarantined(self) -> int: ...

    async def set_values(self, space: str, values: Mapping[str, bytes | None]) -> None: ...

    async def values(self, space: str) -> dict[str, bytes]: ...

    async def put_if(self, space: str, name: str, value: bytes | None, version: int) -> int: ...

    async def compact(self) -> int: ...

    async def join(self, process: str, ttl: float) -> None: ...

    async def leave(self, process: str) -> None:
        """It is gone: its leases are free."""
        ...

    async def members(self) -> Mapping[str, float]: ...

    async def acquire(self, names: Sequence[str], process: str, ttl: float) -> Mapping[str, Lease]: ...

    async def renew(self, leases: Sequence[Lease], process: str, ttl: float) -> Sequence[Lease]: ...

    async def release(self, leases: Sequence[Lease], process: str) -> None: ...

    async def tell(self, channel: str, body: bytes) -> None: ...
