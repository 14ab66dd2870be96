"""Quarantine: bytes of a journal that nobody can read as an event are set aside, once, with the reason.

Unknown versions, altered bodies, broken JSON, validators that raise: never a crash loop, never silence. Knows no subscription.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from eventbus.codec import decode
from eventbus.errors import CodecError
from eventbus.journal.values import NewQuarantined
from eventbus.log import log

if TYPE_CHECKING:
    from eventbus.event import Event
    from eventbus.journal.protocol import Journal
    from eventbus.journal.values import Record

_PAGE = 1_000


class Quarantine:
    """Which records of one journal are known to be unreadable."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: set[int] = set()
        self.count = 0  # met by this bus

    async def load(self) -> None:
        """Take in what earlier processes set aside."""
        after = 0
        while page := await self._journal.quarantined(after, _PAGE):
            self._known.update(item.offset for item in page if item.offset is not None)
            after = page[-1].id

    def try_to_read(
        self, record: Record, read: Callable[[bytes], Event] = decode
    ) -> tuple[Event | None, NewQuarantined | None]:
        """The event of a record; or none, and what is to be kept of it unless that was done before."""
        try:
            return read(record.body), None
        except CodecError as error:
            return None, self._note(record, error)

    def _note(self, record: Record, error: CodecError) -> NewQuarantined | None:
        if record.offset in self._known:
            return None
        self._known.add(record.offset)
        self.count += 1
        log.error(
            "record quarantined: %s of type %s: %s",
            record.offset,
            record.type,
            str(error)[:500],
            extra={"offset": record.offset, "type": record.type, "reason": str(error)[:500]},
        )
        return NewQuarantined(record.offset, str(error), record.time_ns, record.body)

    async def read(self, record: Record) -> Event | None:
        """The event of a record, or None for one that is now in quarantine."""
        event, unreadable = self.try_to_read(record)
        if unreadable is not None:
            await self._journal.add_quarantined([unreadable])
        return event
