"""Source: what feeds the ring from a bus: a tap on its dispatcher, and its journal for what is older.

On a bus that journals first the number of an event is its offset. An urgent event overtakes others in the lane but not here: what
comes early waits until those before it came, or were read from the journal. In memory, and where the journal is written behind,
the gateway counts what it taps.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence

from eventbus import CodecError, Event, EventBus, Explanation, JournalReader, OffsetGone, Tap, explanation
from eventbus.gateway.feed import PAGE, Feed, History

SPACE = "gateway"
"""Where in a journal its epoch is kept."""

_RELATED = 10_000  # events of one affair


class Tapped:
    """From the dispatcher of a bus into the ring. `arrived` is called whenever events were put there, `pass_by` with those that
    have no place in the journal of the bus."""

    def __init__(
        self,
        bus: EventBus,
        feed: Feed,
        arrived: Callable[[], object],
        pass_by: Callable[[Sequence[Event]], object],
    ) -> None:
        self._bus = bus
        self._feed = feed
        self._arrived = arrived
        self._pass_by = pass_by
        self._has_offsets = "durable" in bus.capabilities
        self._early: dict[int, Sequence[Event]] = {}  # by the first offset
        self._filling: asyncio.Task[None] | None = None
        self._tap: Tap | None = None

    async def start(self) -> None:
        """Listen from now on. The bus must run."""
        if self._has_offsets:
            self._feed.ring.begin(await self._epoch(), self._bus.journal.last)
        else:
            self._feed.ring.begin(secrets.token_hex(4), 0)
        self._feed.catch_up(self._feed.ring.head)
        self._tap = self._bus.tap(self._take)

    def stop(self) -> None:
        """Listen no more."""
        if self._tap is not None:
            self._tap.cancel()
        if self._filling is not None:
            self._filling.cancel()

    async def _epoch(self) -> str:
        journal = self._bus.journal
        known = (await journal.values(SPACE)).get("epoch")
        if known is None:
            known = secrets.token_hex(4).encode()
            await journal.set_values(SPACE, {"epoch": known})
        return known.decode()

    def _take(self, events: Sequence[Event], offset: int | None) -> None:
        ring = self._feed.ring
        if not self._has_offsets or offset == ring.head + 1:
            ring.put(events)
            if self._early:
                self._take_early()
        elif offset is None:
            self._pass_by(events)
            return
        elif offset <= ring.head:
            return  # what was accepted before this began, or was read from the journal meanwhile
        else:
            self._early[offset] = events
            return
        self._arrived()

    def _take_early(self) -> None:
        ring = self._feed.ring
        while (events := self._early.pop(ring.head + 1, None)) is not None:
            ring.put(events)

    def beat(self) -> None:
        """What was missing the last time, and still is, is read from the journal: it was never dispatched."""
        if self._early and self._filling is None:
            self._filling = asyncio.get_running_loop().create_task(self._fill(self._feed.ring.head))
            self._filling.add_done_callback(self._filled)

    async def _fill(self, head: int) -> None:
        ring = self._feed.ring
        page = await JournalHistory(self._bus).read(head, min(self._early) - 1, PAGE)
        if ring.head != head or not self._early:
            return  # they came meanwhile
        missing = min(self._early) - 1 - head
        found = dict(page)
        ring.put([found.get(number) for number in range(head + 1, head + 1 + min(missing, PAGE))])
        self._take_early()
        self._arrived()

    def _filled(self, filling: asyncio.Task[None]) -> None:
        self._filling = None


class JournalHistory(History):
    """What the journal of a bus keeps."""

    def __init__(self, bus: EventBus) -> None:
        self._journal = bus.journal

    @property
    def oldest(self) -> int:
        return self._journal.first

    async def read(self, after: int, until: int, limit: int) -> list[tuple[int, Event | None]]:
        if after + 1 < self._journal.first:
            raise OffsetGone(after + 1, self._journal.first)
        page = await self._journal.bodies(after, limit, until=until)
        return [(offset, read_event(body)) for offset, body in page]


def read_event(body: bytes) -> Event | None:
    """The event in a record; None for bytes that are none here."""
    try:
        return Event.from_json(body)
    except CodecError:
        return None


def explained(reader: JournalReader, event_id: str) -> Explanation:
    """The causal tree of an event of a journal. Raises `LookupError`."""
    record = reader.find(event_id)
    if record is None:
        raise LookupError(event_id)
    related = reader.related(record.correlation_id or event_id, _RELATED)
    known = [(each, event) for each in related if (event := read_event(each.body)) is not None]
    return explanation(event_id, known, reader.outcomes([each.offset for each in related]))
