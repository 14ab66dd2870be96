"""Tail: one reader per process of a log that others append to as well. What it reads goes to everybody who listens here.

What this process published is known by its place and waits for its turn, so that every process sees one order; it is not read again.
In-memory subscriptions hear each event at most once per process. Knows no group: who reads on their own is only woken.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Protocol

from eventbus.codec import decode
from eventbus.durability.trouble import Patience
from eventbus.errors import BusStopped, CodecError, JournalError, OffsetGone, PolicyConflict
from eventbus.event import hops_of
from eventbus.kind import Kind
from eventbus.log import log
from eventbus.road.burst import Burst

if TYPE_CHECKING:
    from eventbus.durability.trouble import Trouble
    from eventbus.event import Event
    from eventbus.journal.protocol import Journal
    from eventbus.journal.values import Record
    from eventbus.retained import Retained
    from eventbus.road.door import Door

_PAGE = 1_000
_BURST = 256  # events of others that go on together
_TOGETHER = frozenset({Kind.EVENT, Kind.SIGNAL, Kind.EXECUTION})


class Sending(Protocol):
    """What is on its way into the log from here."""

    @property
    def is_behind(self) -> bool:
        """Is anything?"""
        ...

    def is_sending(self, event_id: str) -> bool:
        """Is this one, so that its place is not known yet?"""
        ...

    async def answered(self) -> None:
        """Wait for the next answer."""
        ...

    def brought(self, events: int) -> None:
        """So many more pass the door that others published."""
        ...


class Tail:
    """Of one process.

    `entered` is called with each burst that goes on, `moved` when there is more, `made` makes one of others,
    `spread` tells others of one that is not for the log.
    """

    def __init__(
        self,
        journal: Journal,
        door: Door,
        retained: Retained,
        trouble: Trouble,
        entered: Callable[[Burst], None],
        moved: Callable[[], None],
        made: Callable[[Event], Burst],
        spread: Callable[[Burst], None],
        *,
        poll: float,
    ) -> None:
        self._journal = journal
        self._door = door
        self._retained = retained
        self._trouble = trouble
        self._entered = entered
        self._moved = moved
        self._made = made
        self._spread = spread
        self.poll = poll
        self._sending: Sending
        self._own: dict[int, Burst] = {}  # by place: written, and waiting for what comes before
        self._came: asyncio.Future[None] | None = None  # somebody waits for one of these
        self._unreadable: set[int] = set()
        self._must_look = True  # nothing came of ours: others may have published, or a poll is over
        self.at = 0  # everything up to here went on
        self.gaps = 0  # stretches that were removed before they were read here
        self.is_crowded = False  # nobody here takes what comes: it waits
        self._is_suspended = False  # the log is not what it was, and nobody said yet where to go on

    def watches(self, sending: Sending) -> None:
        """From the beginning on: this is on its way."""
        self._sending = sending

    def begin(self, at: int) -> None:
        """What comes after that place is news."""
        self.at, self._is_suspended = at, False

    def suspend(self) -> None:
        """Nothing that is read is news, until somebody says where it begins."""
        self._is_suspended = True

    # --- from here -------------------------------------------------------------------------------------------------

    def has_passed(self, offset: int) -> bool:
        """Did what lies there go on already?"""
        return offset <= self.at

    def took(self, burst: Burst) -> None:
        """It is durable, and goes on in its turn; at once if it is not for the log."""
        if burst.offset is None:
            self._retained.keep(burst.events[0])
            self._spread(burst)
            self._door.lane.put(burst)
            return
        self._own[burst.offset] = burst
        self._go_on()
        if self._came is not None and not self._came.done():
            self._came.set_result(None)

    def _go_on(self) -> None:
        while (burst := self._own.pop(self.at + 1, None)) is not None:
            self.at += len(burst.events)
            self._retained.keep(burst.events[0])  # what is retained shares no burst
            self._entered(burst)
            self._door.lane.put(burst)
            self._moved()

    def left(self) -> list[Burst]:
        """What was published here and never went on, taken out."""
        left, self._own = [*self._own.values()], {}
        for burst in left:
            self._door.take(burst)
        return left

    # --- from others -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read whatever comes, until this is cancelled."""
        patience = Patience()
        while True:
            if self._is_suspended:
                await asyncio.sleep(self.poll)
                continue
            try:
                await self.read_on()
                patience.worked()
            except OffsetGone as gone:
                self._skip_gone(gone)
            except JournalError as error:
                self._trouble.tell("reading what others published waits for the journal", error)
                await patience.wait()

    async def read_on(self) -> None:
        """Read once; where there is nothing, wait for more."""
        self._go_on()  # what was read last may be all that came before it
        until = min(self._own) - 1 if self._own else None
        records: Sequence[Record] = ()
        if self._must_look or self.at < self._journal.last:  # what was published here is known already
            records = await self._journal.read(self.at, _PAGE, until=until)
            self._must_look = False
            if self._is_suspended:  # meanwhile
                return
        if not records:
            before = self.at
            if until is None and not self._sending.is_behind:
                await self._journal.wait(before, self.poll)
                await asyncio.sleep(0)  # what was published here goes on in the same turn
            else:
                await self._wait_for_own()
            self._must_look = self.at == before
            return
        at = 0
        while at < len(records):
            record = records[at]
            self._go_on()
            if record.offset <= self.at:
                at += 1
            elif self._sending.is_sending(record.event_id):
                await self._sending.answered()
            else:
                at += await self._bring(records, at)

    async def _wait_for_own(self) -> None:
        """Something of ours is on its way: it comes, or something of others does."""
        self._came = came = asyncio.get_running_loop().create_future()
        more = asyncio.ensure_future(self._journal.wait(self.at, self.poll))
        try:
            await asyncio.wait([came, more], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._came = None
            more.cancel()
            with contextlib.suppress(asyncio.CancelledError, JournalError):
                await more

    async def _bring(self, records: Sequence[Record], at: int) -> int:
        """As many as may go on together, from there on; gives how many."""
        events: list[Event] = []
        for record in records[at : at + _BURST]:
            if record.offset in self._own or self._sending.is_sending(record.event_id):
                break
            event = self._read(record)
            if event is None or (events and not _are_alike(events[-1], event)):
                break
            events.append(event)
            if not _is_plain(event):
                break
        first = records[at].offset
        if not events:
            self.at = first  # nobody can read it: those who have to set it aside
            self._moved()
            return 1
        await self._room()
        burst = self._made(events[0])
        for event in events[1:]:
            burst.also(event)
        burst.written(first, str(self._journal.durability))
        self.at = first + len(events) - 1
        self._sending.brought(len(events))
        try:
            self._retained.keep(events[0])
        except PolicyConflict as error:  # what its class retains it by is no key here
            log.error("event of another process not retained: %s", error, extra={"error": str(error)})
        self._door.bring(burst)
        self._entered(burst)
        self._moved()
        return len(events)

    def _read(self, record: Record) -> Event | None:
        try:
            return decode(record.body)
        except CodecError as error:
            if record.offset not in self._unreadable:
                self._unreadable.add(record.offset)
                log.error(
                    "event of another process cannot be read: %s",
                    str(error)[:500],
                    extra={"offset": record.offset, "type": record.type},
                )
            return None

    async def _room(self) -> None:
        """Wait until somebody takes what is there. What this process published never waits behind that: its own place is taken."""
        places = self._door.places
        while places.occupied >= places.size and not (self._own or self._sending.is_behind or self._door.is_shut):
            self.is_crowded = True
            self._moved()
            self._came = came = asyncio.get_running_loop().create_future()
            room = asyncio.ensure_future(places.room())
            try:
                await asyncio.wait([came, room], return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._came, self.is_crowded = None, False
                room.cancel()
                with contextlib.suppress(asyncio.CancelledError, BusStopped):
                    await room

    def _skip_gone(self, gone: OffsetGone) -> None:
        lost = gone.oldest - 1 - self.at
        self.gaps += 1
        log.error(
            "%d events were removed before they were heard here", lost, extra={"records": lost, "oldest": gone.oldest}
        )
        self.at = gone.oldest - 1
        self._moved()


class Foreign(Burst):
    """Events that another process published: nobody's context, no place here yet."""

    is_foreign = True

    def __init__(self, event: Event) -> None:
        super().__init__(event, Context(), hops_of(event), 0, 0, is_urgent=event.__event__.kind is Kind.CONTROL)


def _is_plain(event: Event) -> bool:
    """May it share a burst with others of its kind?"""
    spec = event.__event__
    says_more = event.metadata and len(event.metadata) > bool(hops_of(event))
    return spec.kind in _TOGETHER and spec.max_age is None and not (spec.retain or says_more)


def _are_alike(one: Event, other: Event) -> bool:
    return _is_plain(one) and _is_plain(other) and hops_of(one) == hops_of(other)
