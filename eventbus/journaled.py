"""Journaled: the bus over a journal. The same walk, with one more stop: what is accepted is durable before it is dispatched.

Adds durable subscriptions, replay, and everything that survives a restart: dead letters, the halt, retained events.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import UTC, datetime
from inspect import isawaitable
from typing import Any, Self

from pydantic_core import from_json, to_json

from eventbus.burst import Burst
from eventbus.bus import Handler, InMemoryEventBus, Selects, ShutdownReport
from eventbus.causality import Explanation, explain
from eventbus.codec import decode, encode
from eventbus.committer import Committer
from eventbus.dead_letter import DeadLetter
from eventbus.delivery import Delivery
from eventbus.durable import DurableReader, Recent, as_kept
from eventbus.errors import BusNotRunning, CodecError, JournalError, PolicyConflict
from eventbus.event import Event, Kind, event_key
from eventbus.journal.base import RETAINED, Journal, NewQuarantined, Record, Start
from eventbus.receipt import Outcome, Receipt
from eventbus.runtime import log
from eventbus.selector import Selector
from eventbus.subscription import Subscription

_LATCH = "latch"
_PAGE = 1_000

Since = int | datetime | None


class JournaledEventBus(InMemoryEventBus):
    """An event bus whose events survive the process, over any `Journal`.

    `await publish()` returns after the commit that contains the event; `publish_nowait` before it, and the event is
    dispatched after it all the same. `journal_quotes=False` leaves QUOTE events out of the journal. The journal is opened by
    `connect()`, `run_forever()`, or the first awaited publish.
    """

    def __init__(self, journal: Journal, *, journal_quotes: bool = True, **settings: Any) -> None:
        super().__init__(**settings)
        self.journal = journal
        self.capabilities = InMemoryEventBus.capabilities | {"durable", "replay"} | journal.capabilities
        self._journal_quotes = journal_quotes
        self._committer = Committer(journal, self._door)
        self._door.pass_on = self._committer.take
        self._readers: dict[str, DurableReader] = {}
        self._recent = Recent()
        self._opening: asyncio.Task[None] | None = None
        self._letter_ids: dict[int, int] = {}  # of dead letters: here -> in the journal
        self.quarantined = 0
        self._runtime.is_behind = lambda: (
            self._committer.is_busy or any(reader.is_behind for reader in self._readers.values())
        )
        self._runtime.dead_letters.on_gone = self._letters_gone

    # --- publish -------------------------------------------------------------------------------------------------

    async def publish(
        self, event: Event | str, payload: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Receipt:
        """Hand an event to the bus; returns when it is durable.

        Publishing the same event again is accepted once. Raises as the bus in memory does, and `CodecError`,
        `JournalUnavailable`, `IdConflict`, `OutcomeUnknown`.
        """
        return await self._publish(self._coerce(event, payload), timeout)

    async def publish_many(self, events: Iterable[Event], *, timeout: float | None = None) -> list[Receipt]:
        """Publish one after the other, in as few commits as the journal makes of them; returns when all are durable."""
        await self._open()
        receipts = [await super(JournaledEventBus, self)._publish(event, timeout) for event in events]
        for receipt in receipts:
            await _durable(receipt)
        return receipts

    async def _publish(self, event: Event, timeout: float | None) -> Receipt:
        if self._opening is None or not self._opening.done():
            await self._open()
        receipt = await super()._publish(event, timeout)
        await _durable(receipt)
        return receipt

    def publish_nowait(self, event: Event | str, payload: Mapping[str, Any] | None = None) -> Receipt:
        """Like `publish`, without waiting for the commit: dispatched after it; `await receipt` raises if it fails."""
        if self._opening is None or not self._opening.done():
            raise BusNotRunning("publish_nowait() on a bus with a journal")
        return super().publish_nowait(event, payload)

    def _admit(self, event: Event, *, has_place: bool = False) -> Receipt | None:
        receipt = super()._admit(event, has_place=has_place)
        if receipt is not None:
            burst = receipt.burst
            assert isinstance(burst, Burst)
            self._door.seal()
            if self._journal_quotes or event.__event__.kind is not Kind.QUOTE:
                try:
                    burst.body = encode(event)
                except CodecError:
                    self._committer.take_back(burst)
                    raise
        return receipt

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
        the end unless `start="beginning"` or an offset. Raises `PolicyConflict` for a group that is open already.
        """
        if not (durable or group):
            return super().subscribe(selector, handler, name=name, replay_last=replay_last, **policy)
        subscription = super().subscribe(selector, handler, name=name or group, replay_last=False, **policy)
        reader_name = group or subscription.name
        if reader_name in self._readers:
            subscription.cancel()
            raise PolicyConflict("group", f"{reader_name!r} is read by another subscription of this bus already")
        reader = DurableReader(reader_name, subscription, self.journal, self._runtime, self._recent, start)
        self._readers[reader_name] = reader
        subscription.worker.feed = reader.watch
        if self._runtime.is_running:
            self._runtime.start(reader.run())
        return subscription

    def _remove(self, subscription: Subscription) -> None:
        super()._remove(subscription)
        self._readers = {
            name: reader for name, reader in self._readers.items() if reader.subscription is not subscription
        }

    def _add(self, subscription: Subscription) -> None:
        subscription.worker.on_outcome = self._keep_letter
        super()._add(subscription)

    def _keep_letter(self, _delivery: Delivery, _outcome: Outcome, letter: DeadLetter | None) -> None:
        if letter is not None:
            self._runtime.start(self._write_letter(letter))

    async def _write_letter(self, letter: DeadLetter) -> None:
        try:
            (self._letter_ids[letter.id],) = await self.journal.add_dead_letters([as_kept(letter, None)])
        except (JournalError, CodecError) as error:
            log.error("dead letter not journalled", extra={"subscription": letter.subscription, "error": str(error)})

    def _letters_gone(self, letters: list[DeadLetter], redriven: bool) -> None:
        ids = [self._letter_ids.pop(letter.id) for letter in letters if letter.id in self._letter_ids]
        if ids:
            change = self.journal.mark_redriven(ids) if redriven else self.journal.purge_dead_letters(ids)
            self._runtime.start(_logged(change, "dead letters not updated in the journal"))

    # --- life ----------------------------------------------------------------------------------------------------

    async def run_forever(self) -> None:
        """The dispatcher; opens the journal first."""
        await self._open()
        for reader in self._readers.values():
            asyncio.get_running_loop().call_soon(self._start_reader, reader)
        await super().run_forever()

    def _start_reader(self, reader: DurableReader) -> None:
        if self._runtime.is_running:
            self._runtime.start(reader.run())

    async def connect(self) -> Self:
        """Open the journal and start the dispatcher as a task of the bus."""
        await self._open()
        return await super().connect()

    async def _open(self) -> None:
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._recover())
        await asyncio.shield(self._opening)

    async def _recover(self) -> None:
        """Take the journal, and with it what an earlier process left: halt, retained events, dead letters."""
        await self.journal.open()
        latch = (await self.journal.values(_LATCH)).get("halt")
        if latch is not None:
            kept = from_json(latch)
            self._halt_reason, self._halt_token = kept["reason"], kept["token"]
        for raw in (await self.journal.values(RETAINED)).values():
            event = await self._readable(raw)
            if event is not None:
                self._retained.setdefault(event.type, {})[event_key(event, event.__event__.key)] = event
        for letter in await self.journal.dead_letters(limit=10_000):
            event = await self._readable(letter.body)
            if event is not None:
                kept_letter = self._runtime.dead_letters.add(
                    event,
                    subscription=letter.subscription,
                    reason=letter.reason,
                    error=letter.error,
                    attempts=letter.attempts,
                    first_failed=_moment(letter.first_failed_ns),
                    last_failed=_moment(letter.last_failed_ns),
                )
                self._letter_ids[kept_letter.id] = letter.id

    async def _end(self, timeout: float | None) -> ShutdownReport:
        report = await super()._end(timeout)
        if self._opening is not None and self._opening.done() and not self._opening.exception():
            await self._committer.flushed()
            for reader in self._readers.values():
                await reader.commit()
            await self.journal.close()
        return report

    # --- halt ----------------------------------------------------------------------------------------------------

    def halt(self, reason: str) -> str:
        """As on the bus in memory; the halt survives a restart."""
        token = super().halt(reason)
        self._save_latch(to_json({"reason": self._halt_reason, "token": token}))
        return token

    def rearm(self, token: str) -> None:
        """As on the bus in memory; survives a restart too."""
        super().rearm(token)
        self._save_latch(None)

    def _save_latch(self, value: bytes | None) -> None:
        if self._runtime.loop is not None:
            change = self.journal.set_values(_LATCH, {"halt": value})
            self._runtime.start(_logged(change, "halt not saved in the journal"))

    # --- read ----------------------------------------------------------------------------------------------------

    async def replay(
        self,
        since: Since = None,
        until: Since = None,
        types: str = "*",
        where: Callable[[Event], bool] | None = None,
    ) -> AsyncIterator[Event]:
        """Events of the journal, oldest first, from `since` on (an offset or a time, inclusive) to `until` (inclusive).

        `types` is a type or a wildcard. It never reaches live subscriptions. Raises `OffsetGone` below retention.
        """
        await self._open()
        selector = Selector(types)
        after = await self._offset_before(since, self.journal.first - 1)
        last = self.journal.last if until is None else await self._last_offset(until)
        while records := await self.journal.read(after, _PAGE, until=last):
            for record in records:
                event = await self._readable(record.body, record)
                if event is None or not selector.matches(type(event), event.type):
                    continue
                if where is None or where(event):
                    yield event
            after = records[-1].offset

    async def replay_to(
        self,
        handler: Handler,
        since: Since = None,
        until: Since = None,
        types: str = "*",
        where: Callable[[Event], bool] | None = None,
        *,
        speed: float = 0,
    ) -> int:
        """Call `handler` with each event of `replay`, one after the other; returns how many.

        `speed` 1 keeps the pace of their timestamps, 2 twice that; 0 is as fast as possible.
        """
        count, previous = 0, None
        async for event in self.replay(since, until, types, where):
            if speed > 0 and previous is not None:
                await asyncio.sleep(max(0.0, (event.timestamp - previous).total_seconds() / speed))
            previous = event.timestamp
            result = handler(event)
            if isawaitable(result):
                await result
            count += 1
        return count

    async def trace(self, event_id: str) -> Explanation:
        """The causal tree of any event in the journal, however old. Raises `LookupError` when it is not there."""
        await self._open()
        record = await self.journal.find(event_id)
        if record is None:
            raise LookupError(f"event {event_id} is not in the journal")
        related = await self.journal.related(record.correlation_id or event_id)
        events = [event for kept in related if (event := await self._readable(kept.body, kept)) is not None]
        return explain(event_id, events)

    async def _offset_before(self, since: Since, beginning: int) -> int:
        match since:
            case None:
                return beginning
            case int() as offset:
                return offset - 1
            case moment:
                return await self.journal.seek(int(moment.timestamp() * 1e9))

    async def _last_offset(self, until: int | datetime) -> int:
        if isinstance(until, int):
            return until
        return await self.journal.seek(int(until.timestamp() * 1e9) + 1)

    async def _readable(self, raw: bytes, record: Record | None = None) -> Event | None:
        """The event, or None for bytes that go to quarantine."""
        try:
            return decode(raw)
        except CodecError as error:
            self.quarantined += 1
            offset, time_ns = (record.offset, record.time_ns) if record else (None, 0)
            await self.journal.add_quarantined([NewQuarantined(offset, str(error), time_ns, raw)])
            return None

    def _dispatching(self, burst: Burst) -> None:
        if burst.offset is not None:
            for index, event in enumerate(burst.events):
                self._recent.remember(burst.offset + index, event)
        super()._dispatching(burst)


async def _durable(receipt: Receipt) -> None:
    committed = receipt.burst.committed
    if committed is not None and not committed.done():
        await asyncio.shield(committed)
    elif committed is not None:
        committed.result()


async def _logged(change: Any, failure: str) -> None:
    try:
        await change
    except JournalError as error:
        log.error(failure, extra={"error": str(error)})


def _moment(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns / 1e9, UTC)
