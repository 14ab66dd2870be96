"""Quotes: where quotes are not journalled, other processes are told of them by a hint that may be lost: the next one replaces it anyway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import groupby
from typing import TYPE_CHECKING

from eventbus.codec import decode, encode
from eventbus.durability.tail import Foreign
from eventbus.errors import CodecError, JournalError

if TYPE_CHECKING:
    from eventbus.durability.trouble import Trouble
    from eventbus.event import Event
    from eventbus.journal.shared import SharedJournal
    from eventbus.retained import Retained
    from eventbus.road.burst import Burst
    from eventbus.road.door import Door

CHANNEL = "quotes"
"""What is told there: the name of the process, then a body for each quote, line by line."""


class Quotes:
    """Of one process. `start` runs what must not be waited for, `brought` counts what others published."""

    def __init__(
        self,
        journal: SharedJournal,
        process: Callable[[], str],
        door: Door,
        retained: Retained,
        trouble: Trouble,
        start: Callable[[Awaitable[None]], None],
    ) -> None:
        self._journal = journal
        self._process = process
        self._door = door
        self._retained = retained
        self._trouble = trouble
        self._start = start

    def spread(self, burst: Burst) -> None:
        """These are on their way here: tell the others."""
        lines = [self._process().encode(), *map(encode, burst.events)]
        self._start(self._send(b"\n".join(lines)))

    async def _send(self, body: bytes) -> None:
        try:
            await self._journal.tell(CHANNEL, body)
        except JournalError as error:
            self._trouble.tell("quotes not told to other processes", error)

    async def hear(self, brought: Callable[[int], None]) -> None:
        """Take those of others, until the journal closes. Where the bus is full they are left out: newer ones will come."""
        mine = self._process().encode()
        async for body in self._journal.listen(CHANNEL):
            process, *lines = body.split(b"\n")
            places = self._door.places
            if process == mine or places.occupied >= places.size:
                continue
            for _cls, same in groupby(filter(None, map(_read, lines)), type):
                first, *rest = same
                burst = Foreign(first)
                for event in rest:
                    burst.also(event)
                for event in burst.events:
                    self._retained.keep(event)
                brought(len(burst.events))
                self._door.bring(burst)


def _read(line: bytes) -> Event | None:
    try:
        return decode(line)
    except CodecError:
        return None
