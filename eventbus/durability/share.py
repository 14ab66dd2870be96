"""Share: one part of a group that this process holds: its lease, how far it was read, and what is not committed yet.

Plain bookkeeping, whoever holds the lease and wherever the cursor is kept. Knows no handler and no journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from eventbus.journal.parts import part_of, split_part
from eventbus.journal.values import Settled

if TYPE_CHECKING:
    from eventbus.dead_letter import DeadLetter
    from eventbus.event import Event
    from eventbus.journal.shared import Lease
    from eventbus.journal.values import Cursor, NewQuarantined
    from eventbus.policy import Policy


MOST = 256
"""Deliveries of one part that have begun and are not committed: a crash repeats no more."""


class News(NamedTuple):
    """What is to be committed of one part, all at once."""

    lease: Lease
    settled: list[Settled]
    skipped: list[tuple[int, int]]
    dead: list[tuple[DeadLetter, int]]
    quarantined: list[NewQuarantined]


class Share:
    """Of one group. `until_ns` is the moment from which on nothing of it may start, unless its lease was renewed before."""

    def __init__(self, lease: Lease, cursor: Cursor, until_ns: float) -> None:
        named = split_part(lease.name)
        self.part = named[1] if named else 0
        self.lease = lease
        self.cursor = cursor
        self.until_ns = until_ns
        self.position = cursor.floor  # read and delivered up to here
        self.is_lost = False  # another process may have it by now
        self.is_leaving = False  # nothing new begins: it is about to be given up
        self.pending = 0  # deliveries that were counted as begun and have no outcome
        self._counted: dict[int, int] = {}  # attempts that were counted, and did not start after all
        self._noted = cursor.floor  # read up to here: what nobody listens to is noted as such
        self._uncommitted = 0  # outcomes that are known and not committed
        self._settled: list[Settled] = []
        self._dead: list[tuple[DeadLetter, int]] = []
        self._quarantined: list[NewQuarantined] = []
        self._skipped: list[tuple[int, int]] = []

    def may_start(self, now_ns: int) -> bool:
        """May attempts of it start?"""
        return not self.is_lost and now_ns < self.until_ns

    @property
    def takes(self) -> bool:
        """Is more of it to be read?"""
        return not (self.is_lost or self.is_leaving)

    @property
    def unfinished(self) -> int:
        """Deliveries that were counted as begun and are not committed."""
        return self.pending + self._uncommitted

    @property
    def room(self) -> int:
        """So many more may be counted, and begin when what is known by now is committed with that."""
        return max(0, MOST - self.pending)

    @property
    def is_within(self) -> bool:
        """Is all that was counted no more than a crash may repeat?"""
        return self.unfinished <= MOST

    @property
    def has_outcomes(self) -> bool:
        """Is anything known that is to be committed soon?"""
        return bool(self._settled or self._quarantined)

    @property
    def has_news(self) -> bool:
        """Is anything to be committed, be it that others' events were passed over?"""
        return bool(self._settled or self._quarantined or self._skipped)

    # --- reading ---------------------------------------------------------------------------------------------------

    def met(self, offset: int) -> bool:
        """What lies there is of this part, and everything between it and what was met before is not. False: it was met already."""
        if offset <= self._noted:
            return False
        self.skip(self._noted + 1, offset - 1)
        self._noted = offset
        return True

    def read_upto(self, offset: int) -> None:
        """Nothing else up to there is for it."""
        if offset > self._noted:
            self.skip(self._noted + 1, offset)
            self._noted = offset
        self.position = max(self.position, offset)

    def begins(self, deliveries: int) -> None:
        """So many were counted, and may run."""
        self.pending += deliveries

    def begun_upto(self, offset: int) -> None:
        """All of it up to there that is wanted was counted."""
        self.position = max(self.position, offset)

    def counts(self, offsets: Sequence[int]) -> dict[int, int]:
        """Those of them that are counted already, and did not start, with their counts."""
        return {offset: self._counted.pop(offset) for offset in offsets if offset in self._counted}

    def did_not_start(self, attempts: Mapping[int, int]) -> None:
        """These are counted, and are not counted again when they are read again."""
        self._counted.update(attempts)

    # --- what became of it -----------------------------------------------------------------------------------------

    def ended(self, deliveries: int) -> None:
        """So many have an outcome, or never will here."""
        self.pending -= deliveries

    def settle(self, outcome: Settled, letter: DeadLetter | None = None) -> None:
        """That delivery has its outcome."""
        self._settled.append(outcome)
        self._uncommitted += 1
        if letter is not None:
            self._dead.append((letter, outcome.offset))

    def set_aside(self, offset: int, unreadable: NewQuarantined | None, status: str) -> None:
        """Nobody can read what is there; `unreadable` is to be kept of it."""
        self._settled.append(Settled(offset, status, 0))
        if unreadable is not None:
            self._quarantined.append(unreadable)

    def skip(self, first: int, last: int) -> None:
        """Nothing from there to there is for it."""
        if first > last:
            return
        if self._skipped and self._skipped[-1][1] == first - 1:
            self._skipped[-1] = (self._skipped[-1][0], last)
        else:
            self._skipped.append((first, last))

    # --- commits ---------------------------------------------------------------------------------------------------

    def take(self) -> News:
        """What is to be committed now."""
        news = News(self.lease, self._settled, self._skipped, self._dead, self._quarantined)
        self._settled, self._skipped, self._dead, self._quarantined = [], [], [], []
        return news

    def put_back(self, news: News) -> None:
        """It was not committed."""
        self._settled, self._skipped = news.settled + self._settled, news.skipped + self._skipped
        self._dead, self._quarantined = news.dead + self._dead, news.quarantined + self._quarantined

    def committed(self) -> None:
        """What was taken last is."""
        self._uncommitted = len(self._settled)

    # --- its lease -------------------------------------------------------------------------------------------------

    def renewed(self, until_ns: float) -> None:
        """It may go on until then."""
        self.until_ns = max(self.until_ns, until_ns)

    def leaves(self) -> None:
        """It is to be given up once what began has ended."""
        self.is_leaving = True

    def lose(self) -> None:
        """It is another's: what is known of it is worth nothing."""
        self.is_lost = True
        self.take()
        self._uncommitted = 0


def part_for(policy: Policy, parts: int, event: Event | None, event_id: str) -> int:
    """Which of so many parts an event is in, by what orders it; of what nobody can read, by its id."""
    if event is None:
        return part_of(None, event_id, parts)
    try:
        key = policy.key_of(event)
    except BaseException:  # noqa: BLE001 - a field that cannot be read is a key that is not there
        key = None
    return part_of(None if key is None else str(key), event.event_id, parts)
