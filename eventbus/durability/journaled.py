"""Journaled: the store of a bus over a journal: its writing station, its groups, what is kept aside, and reading what was.

It opens the journal, and takes over what an earlier process left there. Knows no bus: only the stations that it is attached to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from eventbus.durability.aside import Aside
from eventbus.durability.groups import Groups
from eventbus.durability.holding import SoleHolding
from eventbus.durability.opening import Opening
from eventbus.durability.quarantine import Quarantine
from eventbus.durability.reading import Reading
from eventbus.durability.retention import retain
from eventbus.durability.source import JournalSource
from eventbus.durability.store import Store
from eventbus.durability.trouble import Trouble
from eventbus.durability.writing import WriteAhead, WriteBehind
from eventbus.errors import BusStopped, EventBusError, PolicyConflict
from eventbus.journal.sole import sharing_of
from eventbus.kind import Kind
from eventbus.log import log
from eventbus.road.lifetime import must_be_outside

if TYPE_CHECKING:
    from eventbus.causality import Explanation, History
    from eventbus.dead_letter import DeadLetter
    from eventbus.durability.holding import Holding
    from eventbus.durability.retention import Retention
    from eventbus.durability.source import Source
    from eventbus.durability.store import Place
    from eventbus.event import Event
    from eventbus.journal.protocol import Journal
    from eventbus.journal.values import Start, Trimmed
    from eventbus.road.burst import Burst
    from eventbus.road.house import Stations
    from eventbus.selector import Selector
    from eventbus.subscription import Subscription


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """Write behind: events are dispatched at once and journalled at most `batch` events or `delay` seconds later.

    A crash takes the events that were not written yet, though their handlers ran: use it where a restart does them again, and
    `await bus.flush()` before anything that must not be taken back. There are no durable subscriptions.
    """

    batch: int = 1_000
    delay: float = 0.1

    def __post_init__(self) -> None:
        for name in ("batch", "delay"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise PolicyConflict(name, f"{value!r} is not a positive number")
        if not isinstance(self.batch, int):
            raise PolicyConflict("batch", f"{self.batch!r} is not a whole number")


@dataclass(frozen=True, slots=True)
class Course:
    """How events go on from a journal: to groups, who have their parts from `holding`, and to the dispatcher.

    `has_passed` says of a place whether it was dispatched here; None: whatever was there before was.
    """

    source: Source
    holding: Holding
    go_on: Callable[[Burst], None]
    has_passed: Callable[[int], bool] | None = None


class Journaled(Store):
    """What a bus keeps in a `Journal`: events, groups, dead letters, the halt, retained events.

    `journal_quotes=False` leaves QUOTE events out. The journal is opened by `connect()`, `run_forever()`, or the first awaited
    publish. `retention` bounds what is kept while the bus runs.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        journal_quotes: bool = True,
        retention: Retention | None = None,
        behind: Behind | None = None,
    ) -> None:
        self._journal = journal
        self.capabilities = frozenset({"durable", "replay"} | journal.capabilities)
        if behind is not None:
            self.capabilities -= {"durable", "groups"}
        self._with_quotes = journal_quotes
        self._retention = retention
        self._behind = behind
        self._retaining: asyncio.Task[None] | None = None
        self._waiting: list[Subscription] = []  # for the retained events of an earlier process

    def attach(self, stations: Stations) -> None:
        super().attach(stations)
        lifetime, journal, door = stations.lifetime, self._journal, stations.door
        self._opening = Opening(lifetime, self._take_over)
        self._trouble = Trouble(lifetime)
        self._quarantine = Quarantine(journal)
        self._aside = Aside(journal)
        self._sharing = sharing_of(journal)
        course = self._course(stations)
        self._journal_groups = self._groups = Groups(course.source, course.holding, lifetime, self._trouble)
        self._station: WriteAhead | WriteBehind
        if self._behind is None:
            self._station = WriteAhead(
                journal,
                self._opening,
                door,
                lifetime,
                stations.retained,
                course.go_on,
                with_quotes=self._with_quotes,
                has_passed=course.has_passed,
            )
        else:
            self._station = WriteBehind(
                journal,
                self._opening,
                door,
                lifetime,
                with_quotes=self._with_quotes,
                batch=self._behind.batch,
                delay=self._behind.delay,
            )
            stations.dispatcher.watched_by(self._station.take)
        door.write_to(self._station)
        self._reading = Reading(journal, self._quarantine, self._readable)

    def _course(self, stations: Stations) -> Course:
        """Nobody else appends: what is durable is dispatched at once, and every group is this process's."""
        source = JournalSource(self._journal, self._sharing, self._quarantine, stations.lifetime.clock)
        keep, entered, put = stations.retained.keep, source.entered, stations.door.lane.put

        def go_on(burst: Burst) -> None:
            keep(burst.events[0])  # what is retained shares no burst
            entered(burst)
            put(burst)

        return Course(source, SoleHolding(self._sharing), go_on)

    @property
    def journal(self) -> Journal:
        return self._journal

    @property
    def quarantined(self) -> int:
        """Records that could not be read and were set aside since the bus was built."""
        return self._quarantine.count

    # --- life --------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        await self._opening.open()

    async def opened(self) -> None:
        await self._opening.ended()

    async def _take_over(self) -> None:
        """Take the journal, and with it what an earlier process left: halt, retained events, dead letters, groups."""
        await self._journal.open()
        try:
            await self._quarantine.load()
            await self._take_control()
            for event in await self._aside.retained():
                self._stations.retained.keep(event)
            await self._journal_groups.open()
        except BaseException:
            await self._journal.close()
            raise
        self._aside.opened()
        for subscription in self._waiting:
            if subscription.is_active:
                super().replays_retained(subscription)
        self._waiting.clear()

    async def _take_control(self) -> None:
        """Of what only this process has: the halt and the dead letters that an earlier one left."""
        await self._sharing.acquire(())  # its token is there before the first group asks for it
        latch = await self._aside.latch()
        if latch is not None:
            self._stations.latch.restore(*latch)
        await self._aside.load(self._stations.letters)

    def started(self) -> None:
        super().started()
        self._redrive()
        lifetime = self._stations.lifetime
        if self._retention is not None and (self._retaining is None or self._retaining.done()):
            retaining = retain(
                self._journal,
                self._retention,
                lifetime.clock,
                self._trouble,
                lambda: lifetime.is_running,
                self._is_trimmer,
            )
            self._retaining = lifetime.crew.start(retaining)

    def _is_trimmer(self) -> bool:
        """Is it this process that removes what is old?"""
        return True

    def _redrive(self) -> None:
        """Deliver again what was asked for, as far as its subscription is there."""
        self._aside.redrive(self._stations.letters)

    async def close(self) -> None:
        if not self._opening.is_open:
            return
        try:
            await self._station.flush()
        except EventBusError as error:
            log.error("events not written to the journal: %s", error, extra={"error": str(error)})
        for burst in self._stations.door.left():  # durable by now, and dispatched never
            burst.fail(BusStopped("await receipt"))
        await super().close()
        await self._aside.flush()
        await self._let_go()
        self._trouble.end_minute()
        self._opening.closed()
        await self._journal.close()

    async def _let_go(self) -> None:
        """Everything is written: the journal is closed next."""

    @property
    def is_taken(self) -> bool:
        """The journal is one process's."""
        return self._opening.is_taken

    @property
    def is_behind(self) -> bool:
        return self._station.is_behind or super().is_behind

    # --- subscriptions -----------------------------------------------------------------------------------------------

    def _may_begin(self, start: Start) -> None:
        if self._behind is not None:
            raise PolicyConflict("durable", "needs events that are durable before they are dispatched: no write_behind")

    def _may_read(self, selector: Selector) -> None:
        if not self._with_quotes and any(cls.__event__.kind is Kind.QUOTE for cls in selector.classes()):
            raise PolicyConflict("durable", "quotes are not in this journal: set journal_quotes=True")

    def _readers(self) -> Groups:
        return self._journal_groups

    def joined(self, group: str, subscription: Subscription, start: Start, parts: int | None) -> None:
        joined = self._journal_groups.join(group, subscription, start, parts=parts)
        if self._opening.is_open:  # what is accepted from now on is for it
            self._aside.write(joined.begin_or_end, "durable subscription not opened")

    def subscribed(self, subscription: Subscription) -> None:
        if self._stations.lifetime.is_running:
            self._redrive()

    def replays_retained(self, subscription: Subscription) -> None:
        if self._opening.is_open:
            super().replays_retained(subscription)
        else:
            self._waiting.append(subscription)

    # --- what is kept aside ------------------------------------------------------------------------------------------

    def halted(self, reason: str, token: str) -> None:
        self._aside.halted(reason, token)

    async def rearmed(self) -> None:
        await self._aside.rearmed()

    def letter_added(self, letter: DeadLetter) -> None:
        self._aside.keep(letter)

    async def letters_purged(self, letters: list[DeadLetter]) -> None:
        await self._aside.purged(letters)

    def again(self, letter: DeadLetter, burst: Burst) -> Burst:
        return self._aside.again(letter, burst)

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _readable(self, call: str) -> None:
        """The journal is open, and everything that may be read is in it."""
        await self._opening.open(call)
        if self._behind is not None:
            await self._station.flush()

    async def explain(self, event_id: str, history: History) -> Explanation:
        return await self._reading.explain(event_id, history, self._journal_groups.titles())

    def replay(
        self, since: Place, until: Place, types: str, where: Callable[[Event], object] | None
    ) -> AsyncIterator[Event]:
        return self._reading.replay(since, until, types, where)

    async def flush(self) -> None:
        """The halt and dead letters included. Raises `WouldDeadlock` in a handler: what it may publish after that is part of it."""
        must_be_outside("flush()")
        await self._opening.open("flush()")
        await self._station.flush()
        await self._aside.flush()

    async def trim(self, *, before: int | datetime | None, max_bytes: int | None, force: bool) -> Trimmed:
        return await self._reading.trim(before, max_bytes, force=force)
