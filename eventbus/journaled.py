"""Journaled: the bus over a journal. The same walk, with one more stop: what is accepted is durable before it is dispatched.

Adds durable subscriptions, replay, and everything that survives a restart: dead letters, the halt, retained events.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextvars import copy_context
from threading import get_ident
from typing import Any, Self

from eventbus.burst import Burst
from eventbus.bus import Handler, InMemoryEventBus, Selects, ShutdownReport
from eventbus.causality import Explanation
from eventbus.committer import Committer, as_record, durable
from eventbus.context import same_context
from eventbus.dead_letter import DeadLetter
from eventbus.delivery import Delivery
from eventbus.durable import DurableReader, check_durable
from eventbus.errors import BusNotRunning, BusStopped, PolicyConflict
from eventbus.event import Event, Kind, event_key
from eventbus.journal.base import Append, Journal, Start
from eventbus.keeper import Keeper
from eventbus.playback import Place, replay, replay_to, trace
from eventbus.quarantine import Quarantine
from eventbus.receipt import Outcome, Receipt
from eventbus.recent import Recent
from eventbus.retention import Retention, retain
from eventbus.subscription import Subscription


class JournaledEventBus(InMemoryEventBus):
    """An event bus whose events survive the process, over any `Journal`.

    `await publish()` returns after the commit that contains the event; `publish_nowait` before it, and the event is
    dispatched after it all the same. `journal_quotes=False` leaves QUOTE events out of the journal. The journal is opened by
    `connect()`, `run_forever()`, or the first awaited publish. `retention` bounds what is kept while the bus runs.
    """

    def __init__(
        self, journal: Journal, *, journal_quotes: bool = True, retention: Retention | None = None, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.journal = journal
        self.capabilities = InMemoryEventBus.capabilities | {"durable", "replay"} | journal.capabilities
        self._journal_quotes = journal_quotes
        self.retention = retention
        self._retaining: asyncio.Task[None] | None = None
        self._records: list[Append] = []  # of the event that is being admitted
        self._quarantine = Quarantine(journal)
        self._keeper = Keeper(journal)
        self._committer = Committer(
            journal,
            self._door,
            on_entered=self._entered,
            on_refused=self._refused,
            on_idle=self._runtime.check_idle,
        )
        self._door.pass_on = self._take
        self._readers: dict[str, DurableReader] = {}
        self._left: dict[str, DurableReader] = {}  # of subscriptions that were cancelled, by group
        self._recent = Recent()
        self._opening: asyncio.Task[None] | None = None
        self._is_open = False
        self._wait_for_retained: list[Subscription] = []
        self._redriving: dict[Delivery, DeadLetter] = {}
        self._runtime.is_behind = lambda: (
            self._committer.is_busy or any(reader.is_behind for reader in self._readers.values())
        )
        self._runtime.dead_letters.on_gone = self._letters_gone

    @property
    def quarantined(self) -> int:
        """Records that could not be read and were set aside since the bus was built."""
        return self._quarantine.count

    # --- publish -------------------------------------------------------------------------------------------------

    async def publish(
        self, event: Event | str, payload: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Receipt:
        """Hand an event to the bus; returns when it is durable.

        Publishing the same event again is accepted once. Raises as the bus in memory does, and `CodecError`,
        `JournalUnavailable`, `IdConflict`, `OutcomeUnknown`.
        """
        burst = self._joinable(event)
        if burst is None:
            return await self._publish(self._coerce(event, payload), timeout)
        receipt = self._committer.join(burst, self._coerce(event, payload))
        await durable(receipt)
        return receipt

    async def publish_many(self, events: Iterable[Event], *, timeout: float | None = None) -> list[Receipt]:
        """Publish one after the other, in as few commits as the journal makes of them; returns when all are durable."""
        await self._open()
        receipts: list[Receipt] = []
        burst: Burst | None = None
        join = self._committer.join
        for event in events:
            cls = type(event)
            if burst is not None and (cls is burst.admits or cls in burst.joins) and len(burst.events) < burst.room:
                receipts.append(join(burst, event))
            else:
                receipts.append(await super()._publish(event, timeout))
                burst = self._joinable(event)  # and so it stays until something is awaited again
        known: object = None
        for receipt in receipts:
            if receipt.burst is not known:
                await durable(receipt)
                known = receipt.burst
        return receipts

    def _joinable(self, event: Event | str) -> Burst | None:
        """The open burst, if this event may share it: then it shares its record in the journal's batch, and its way."""
        burst, cls = self._door.open, type(event)
        if (
            (cls is burst.admits or cls in burst.joins)
            and len(burst.events) < burst.room
            and get_ident() == burst.thread
            and same_context(copy_context(), burst.context)
        ):
            return burst
        return None

    async def _publish(self, event: Event, timeout: float | None) -> Receipt:
        if not self._is_open:
            await self._open()
        receipt = await super()._publish(event, timeout)
        await durable(receipt)
        return receipt

    def publish_nowait(self, event: Event | str, payload: Mapping[str, Any] | None = None) -> Receipt:
        """Like `publish`, without waiting for the commit: dispatched after it; `await receipt` raises if it fails."""
        if not self._is_open:
            raise BusNotRunning("publish_nowait() on a bus with a journal")
        return super().publish_nowait(event, payload)

    def _admitting(self, event: Event) -> None:
        """An event that cannot be written is refused; one that is written is retained when it is durable."""
        is_kept = self._journal_quotes or event.__event__.kind is not Kind.QUOTE
        self._records = [as_record(event)] if is_kept else []

    def _take(self, burst: Burst) -> None:
        burst.records = self._records
        self._committer.take(burst)

    def _at_once(self, event: Event, *, is_watched: bool) -> Burst | None:
        return None  # it is written down first

    def _join(self, event: Event) -> Receipt | None:
        return None  # `publish` and `publish_many` see to it, with its record

    def _admit(self, event: Event, *, has_place: bool = False) -> Receipt | None:
        receipt = super()._admit(event, has_place=has_place)
        if receipt is not None:
            self._committer.follow(receipt)
        return receipt

    def _entered(self, burst: Burst) -> None:
        """The events of a burst are durable, and about to be dispatched."""
        if self._readers:
            self._recent.remember(burst)
        self._retain(burst.events[0])  # what is retained shares no burst

    def _dispatching(self, burst: Burst) -> None:
        self._recent.dispatched(burst)
        super()._dispatching(burst)

    def _refused(self, burst: Burst) -> None:
        """They never will be: what held a place in a queue for them holds it no longer."""
        for member in burst.table.gates:
            member.worker.expected -= sum(member in burst.table.route(event) for event in burst.events)

    # --- subscribe -----------------------------------------------------------------------------------------------

    def subscribe(
        self,
        selector: Selects,
        handler: Handler,
        *,
        name: str | None = None,
        replay_last: bool = False,
        durable: bool = False,
        group: str | None = None,
        start: Start = "end",
        **policy: Any,
    ) -> Subscription:
        """As on the bus in memory. With `durable` or `group` the subscription has a cursor in the journal.

        What was pending goes on after a restart, in order, under the same group (default: the name). A new group starts at
        the end unless `start="beginning"` or after an offset. Raises `PolicyConflict` for a group that is open already,
        and for what a durable subscription cannot have: a queue of its own, retained events, quotes that are not journalled.
        """
        if not (durable or group):
            subscription = super().subscribe(selector, handler, name=name, **policy)
            if replay_last and self._is_open:
                self._replay_retained(subscription)
            elif replay_last:
                self._wait_for_retained.append(subscription)
            self._redrive_asked()
            return subscription
        check_durable(selector, replay_last=replay_last, start=start, policy=policy, with_quotes=self._journal_quotes)
        reader_name = group or name
        if reader_name in self._readers:
            raise PolicyConflict("group", f"{reader_name!r} is read by another subscription of this bus already")
        subscription = super().subscribe(selector, handler, name=name or group, **policy)
        reader = DurableReader(
            reader_name or subscription.name,
            subscription,
            self.journal,
            self._runtime,
            self._recent,
            self._quarantine,
            start,
            self._left.pop(reader_name or subscription.name, None),
        )
        self._readers[reader.group] = reader
        if self._is_open:
            self._keeper.write(reader.open, "durable subscription not opened")
        if self._runtime.is_running:
            reader.start()
        self._redrive_asked()
        return subscription

    def _add(self, subscription: Subscription) -> None:
        subscription.worker.on_outcome = self._ended_in_memory
        super()._add(subscription)

    def _remove(self, subscription: Subscription) -> None:
        super()._remove(subscription)
        for name, reader in list(self._readers.items()):
            if reader.subscription is subscription:
                self._left = {group: left for group, left in self._left.items() if not left.is_finished}
                self._left[name] = self._readers.pop(name)
                reader.end()

    # --- dead letters --------------------------------------------------------------------------------------------

    def _ended_in_memory(self, delivery: Delivery, outcome: Outcome, letter: DeadLetter | None) -> None:
        """A delivery without a place in the journal has its outcome: a dead letter of it is kept there all the same."""
        if letter is not None:
            self._keeper.keep(letter)
        redriven = self._redriving.pop(delivery, None)
        if redriven is not None and outcome.status != "cancelled":
            self._keeper.gone([redriven], redriven=True)

    def _redrive(self, letter: DeadLetter) -> bool:
        subscription = self._names.get(letter.subscription)
        if subscription is None:
            return False
        worker = subscription.worker
        delivery = worker.adopt(self._door.outside(letter.event), letter.event, 0, is_lossless=False)
        self._redriving[delivery] = letter  # until it has an outcome it stays in the journal: the process may die
        worker.enqueue(delivery)
        worker.pump()
        return True

    def _letters_gone(self, letters: list[DeadLetter], redriven: bool) -> None:
        if not redriven:
            self._keeper.gone(letters, redriven=False)

    def _redrive_asked(self) -> None:
        """Deliver again what somebody asked for while no bus ran, where its subscription is there by now."""
        asked = self._keeper.redrive_asked
        if asked and self._runtime.is_running:
            letters = {letter.id for letter in self.dead_letters.list(lambda letter: letter.id in asked)}
            self.dead_letters.redrive(lambda letter: letter.id in letters)
            asked -= letters - {letter.id for letter in self.dead_letters}

    # --- life ----------------------------------------------------------------------------------------------------

    async def _run(self, stops: int) -> None:
        """The dispatcher; opens the journal first."""
        await self._open()
        for reader in self._readers.values():
            await reader.open()
        asyncio.get_running_loop().call_soon(self._started)
        await super()._run(stops)

    def _started(self) -> None:
        if self._runtime.is_running:
            for reader in self._readers.values():
                reader.start()
            self._redrive_asked()
            if self.retention is not None and (self._retaining is None or self._retaining.done()):
                seeing_to_it = retain(self.journal, self.retention, self._clock, lambda: self._runtime.is_running)
                self._retaining = self._runtime.start(seeing_to_it)

    async def connect(self) -> Self:
        """Open the journal and start the dispatcher as a task of the bus."""
        await self._open()
        for reader in self._readers.values():
            await reader.open()
        await super().connect()
        self._started()
        return self

    async def _open(self) -> None:
        if self._is_open:
            return
        if self._shutdown is not None:
            raise BusStopped("the journal")
        if self._opening is None or self._opening.done():
            self._opening = asyncio.get_running_loop().create_task(self._recover())
        await asyncio.shield(self._opening)

    async def _recover(self) -> None:
        """Take the journal, and with it what an earlier process left: halt, retained events, dead letters, groups."""
        await self.journal.open()
        try:
            await self._quarantine.load()
            latch = await self._keeper.latch()
            if latch is not None and not self.is_halted:
                self._halt_reason, self._halt_token = latch
            for event in await self._keeper.retained():
                self._retained.setdefault(event.type, {})[event_key(event, event.__event__.key)] = event
            await self._keeper.load(self.dead_letters)
            self._recent.newest = self.journal.last
            for reader in self._readers.values():
                await reader.open()
        except BaseException:
            await self.journal.close()
            raise
        self._is_open = True
        self._keeper.opened()
        for subscription in self._wait_for_retained:
            if subscription.is_active:
                self._replay_retained(subscription)
        self._wait_for_retained.clear()

    async def _end(self, timeout: float | None) -> ShutdownReport:
        if self._opening is not None:
            await asyncio.wait([self._opening])
        report = await super()._end(timeout)
        if self._is_open:
            await self._written()
            for reader in (*self._left.values(), *self._readers.values()):
                reader.end()
                await reader.commit()
            await self._keeper.flushed()
            await self.journal.close()
        return report

    async def _written(self) -> None:
        """Wait until everything accepted so far is in the journal, or refused by it."""
        await self._committer.flushed()

    # --- halt ----------------------------------------------------------------------------------------------------

    def halt(self, reason: str) -> str:
        """As on the bus in memory; the halt survives a restart."""
        token = super().halt(reason)
        self._keeper.set_latch(self._halt_reason, token)
        return token

    def rearm(self, token: str) -> None:
        """As on the bus in memory; survives a restart too."""
        super().rearm(token)
        self._keeper.set_latch(None, "")

    # --- read ----------------------------------------------------------------------------------------------------

    async def _readable(self) -> None:
        """Everything that may be read is in the journal, and the journal is open."""
        await self._open()

    def replay(
        self,
        since: Place = None,
        until: Place = None,
        types: str = "*",
        where: Callable[[Event], bool] | None = None,
    ) -> AsyncIterator[Event]:
        """Events of the journal, oldest first, from `since` on (an offset or a time, inclusive) to `until` (inclusive).

        `types` is a type or a wildcard. It never reaches live subscriptions. Raises `OffsetGone` below retention.
        """
        return replay(self._readable, self.journal, self._quarantine, since, until, types, where)

    async def replay_to(
        self,
        handler: Handler,
        since: Place = None,
        until: Place = None,
        types: str = "*",
        where: Callable[[Event], bool] | None = None,
        *,
        speed: float = 0,
    ) -> int:
        """Call `handler` with each event of `replay`, one after the other; returns how many.

        `speed` 1 keeps the pace of their timestamps, 2 twice that; 0 is as fast as possible.
        """
        return await replay_to(handler, self.replay(since, until, types, where), speed)

    def explain(self, event_id: str) -> Explanation:
        """The causal tree of a recent event. Raises `LookupError` when it is not remembered: `trace` knows all there are."""
        try:
            return super().explain(event_id)
        except LookupError:
            raise LookupError(f"event {event_id} is not remembered: await bus.trace({event_id!r})") from None

    async def trace(self, event_id: str) -> Explanation:
        """The causal tree of any event in the journal, however old, with what its durable subscriptions made of each.

        Raises `LookupError` when it is not there. `explain` answers from memory, for recent events.
        """
        await self._readable()
        return await trace(self.journal, self._quarantine, event_id)
