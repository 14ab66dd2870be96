"""What a journal can do besides, when several processes share it: leases, parts of groups, fenced commits, hints.

A process joins, acquires leases by name, and renews them; what it says about a part it says under the token of its lease, and who
lost the lease changes nothing. A server that keeps a log fulfils `SharedJournal`; for a journal of one process `SoleProcess` answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from eventbus.errors import LeaseLost
from eventbus.journal.protocol import Journal
from eventbus.journal.values import Cursor, NewDeadLetter, NewQuarantined, Settled, Start

LOCAL_SHARE = 0.8
"""How much of a lease's time its owner counts on, from the moment it asked: the rest is for clocks and the way there."""


class Lease(NamedTuple):
    """The right to act for a name, `ledger/3` (group and part), `trim`, `halt`, until it runs out.

    `token` grows each time the owner changes and is never used again. `ttl` is in seconds, from the moment the owner asked for it:
    by its own monotonic clock it acts until that moment and `local_ttl` seconds, whether or not the server answers.
    """

    name: str
    token: int
    ttl: float

    @property
    def local_ttl(self) -> float:
        """Seconds, from the moment it was asked for, that the owner may act on it."""
        return self.ttl * LOCAL_SHARE


class Part(NamedTuple):
    """What one commit says about one part: see `Journal.commit`."""

    lease: Lease
    settled: Sequence[Settled] = ()
    skip: Sequence[tuple[int, int]] = ()
    dead: Sequence[NewDeadLetter] = ()
    quarantined: Sequence[NewQuarantined] = ()


class Sharing(Protocol):
    """The half of a shared journal that is about who does what.

    Each call ends within the deadline of its journal. `JournalUnavailable`: nothing was changed. `OutcomeUnknown`: perhaps it was; ask
    again, for under the same token the same call changes nothing twice.
    """

    @property
    def epoch(self) -> str:
        """What this log is known by. Another one after it was made anew, or was put back to an older copy where that can be told."""
        ...

    async def accept_data_loss(self) -> None:
        """Go on with what is there: cursors beyond the end go back to it. Until then every call raises `BackendDataLoss`, once something
        is lost: the epoch is another, or the log ends before what this process saw, or before what a group has finished."""
        ...

    async def join(self, process: str, ttl: float) -> None:
        """Be known as `process`, a name never used before, whose leases last `ttl` seconds after each `renew`. Once, before `acquire`."""
        ...

    async def members(self) -> Mapping[str, float]:
        """Every process that joined and did not leave, with the seconds since its last heartbeat, by the clock of the server."""
        ...

    async def acquire(self, names: Sequence[str]) -> Mapping[str, Lease]:
        """Take those of the leases that are free, have run out, or are ours already. What another process holds is missing."""
        ...

    async def renew(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        """Keep leases for another `ttl` seconds; a heartbeat even without any. Those that were lost are missing."""
        ...

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give leases up, so that they are free at once. Those that were lost stay with their new owner."""
        ...

    async def open_part(self, lease: Lease, start: Start) -> Cursor:
        """The cursor of a part, made at `start` if it is new; it is known to `committed()` by the name of the lease.

        Acquire the lease, then open the part, and only then read. Raises `LeaseLost`, and `OffsetGone` as `open_group` does.
        """
        ...

    async def record_part_attempts(self, lease: Lease, offsets: Sequence[int]) -> Mapping[int, int]:
        """Count one attempt for each offset, durably, and give the counts. Await it before they start. Raises `LeaseLost`."""
        ...

    async def commit_parts(self, parts: Sequence[Part]) -> Sequence[int | LeaseLost]:
        """Commit several parts in one call: for each its floor, or why nothing of it was changed.

        A part is whole or not at all: its cursor, dead letters and quarantine. A refused one is counted in `stats().stale_acks`.
        """
        ...

    async def put_if(self, space: str, name: str, value: bytes | None, version: int) -> int:
        """Set a value, None removes it, if it still has this version; gives the new one. Versions grow with every change.

        A value that never was has version 0; one that was removed keeps counting. Raises `ValueChanged` with what is there, by which
        the version can be learnt: none is -1.
        """
        ...

    def listen(self, channel: str) -> AsyncIterator[bytes]:
        """What is told on a channel from now on, by this process too, until the journal closes. Any of it may be lost."""
        ...

    async def tell(self, channel: str, body: bytes) -> None:
        """Tell whoever listens by now. Hints and replies, nothing that must arrive."""
        ...


class SharedJournal(Journal, Sharing, Protocol):
    """A journal on a server, with `shared` among its capabilities: any number of processes append to it and read it.

    `last` is the newest offset that this process knows of, `wait` sees what others append, and `open` raises `BackendUnsafe` for a
    server whose settings break a promise. The records of one `append` that are new have offsets that follow each other; `append`
    raises `PublishTimeout` when it had no connection in time, so that nothing was sent.
    """
