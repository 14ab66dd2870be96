"""Journaled: the bus over a journal. The same walk, with one more stop: what is accepted is durable before it is dispatched.

Adds durable subscriptions, which resume where they stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import copy_context
from threading import get_ident
from typing import Any

from eventbus.burst import Burst
from eventbus.bus import Handler, Selects
from eventbus.committer import Committer, as_record, durable
from eventbus.context import same_context
from eventbus.durable import DurableReader, check_durable
from eventbus.errors import PolicyConflict
from eventbus.event import Event, Kind
from eventbus.journal.protocol import Journal
from eventbus.journal.values import Append, Start
from eventbus.kept import KeptEventBus
from eventbus.receipt import Receipt
from eventbus.recent import Recent
from eventbus.subscription import Subscription


class JournaledEventBus(KeptEventBus):
    """An event bus whose events survive the process, over any `Journal`.

    `await publish()` returns after the commit that contains the event; `publish_nowait` before it, and the event is
    dispatched after it all the same.
    """

    def __init__(self, journal: Journal, **settings: Any) -> None:
        super().__init__(journal, **settings)
        self.capabilities |= {"durable"}
        self._records: list[Append] = []  # of the event that is being admitted
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
        self._runtime.is_behind = lambda: (
            self._committer.is_busy or any(reader.is_behind for reader in self._readers.values())
        )

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
        receipt = await super()._publish(event, timeout)
        await durable(receipt)
        return receipt

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
            return super().subscribe(selector, handler, name=name, replay_last=replay_last, **policy)
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

    def _remove(self, subscription: Subscription) -> None:
        super()._remove(subscription)
        for name, reader in list(self._readers.items()):
            if reader.subscription is subscription:
                self._left = {group: left for group, left in self._left.items() if not left.is_finished}
                self._left[name] = self._readers.pop(name)
                reader.end()

    # --- life ----------------------------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        await super()._prepare()
        for reader in self._readers.values():
            await reader.open()

    async def _recovered(self) -> None:
        self._recent.newest = self.journal.last
        for reader in self._readers.values():
            await reader.open()

    def _started(self) -> None:
        if self._runtime.is_running:
            for reader in self._readers.values():
                reader.start()
        super()._started()

    async def _written(self) -> None:
        await self._committer.flushed()
        for reader in (*self._left.values(), *self._readers.values()):
            reader.end()
            await reader.commit()
