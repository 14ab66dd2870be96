"""Kept: the bus over a journal, whichever way that is written: what survives a restart, and reading what was.

Opens the journal, takes over what an earlier process left there, and replays. When events are written is decided above.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Self

from eventbus.bus import Handler, InMemoryEventBus, Selects
from eventbus.causality import Explanation
from eventbus.dead_letter import DeadLetter
from eventbus.delivery import Delivery
from eventbus.errors import BusNotRunning, BusStopped
from eventbus.event import Event, event_key
from eventbus.interface import ShutdownReport
from eventbus.journal.protocol import Journal
from eventbus.keeper import Keeper
from eventbus.outcome import Outcome
from eventbus.playback import Place, replay, replay_to, trace
from eventbus.quarantine import Quarantine
from eventbus.receipt import Receipt
from eventbus.retention import Retention, retain
from eventbus.subscription import Subscription


class KeptEventBus(InMemoryEventBus):
    """What every event bus over a `Journal` has: dead letters, the halt and retained events survive, and `replay`.

    `journal_quotes=False` leaves QUOTE events out of the journal. It is opened by `connect()`, `run_forever()`, or the first
    awaited publish. `retention` bounds what is kept while the bus runs.
    """

    def __init__(
        self, journal: Journal, *, journal_quotes: bool = True, retention: Retention | None = None, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.journal = journal
        self.capabilities = InMemoryEventBus.capabilities | {"replay"} | journal.capabilities
        self.retention = retention
        self._journal_quotes = journal_quotes
        self._retaining: asyncio.Task[None] | None = None
        self._quarantine = Quarantine(journal)
        self._keeper = Keeper(journal)
        self._opening: asyncio.Task[None] | None = None
        self._is_open = False
        self._wait_for_retained: list[Subscription] = []
        self._redriving: dict[Delivery, DeadLetter] = {}
        self._runtime.dead_letters.on_gone = self._letters_gone

    @property
    def quarantined(self) -> int:
        """Records that could not be read and were set aside since the bus was built."""
        return self._quarantine.count

    # --- publish and subscribe -----------------------------------------------------------------------------------

    async def _publish(self, event: Event, timeout: float | None) -> Receipt:
        if not self._is_open:
            await self._open()
        return await super()._publish(event, timeout)

    def publish_nowait(self, event: Event | str, payload: Mapping[str, Any] | None = None) -> Receipt:
        """Like `publish`, without waiting for the commit: dispatched after it; `await receipt` raises if it fails."""
        if not self._is_open:
            raise BusNotRunning("publish_nowait() on a bus with a journal")
        return super().publish_nowait(event, payload)

    def subscribe(
        self, selector: Selects, handler: Handler, *, name: str | None = None, replay_last: bool = False, **policy: Any
    ) -> Subscription:
        """As on the bus in memory. Retained events of an earlier process are there once the journal is open."""
        subscription = super().subscribe(selector, handler, name=name, **policy)
        if replay_last and self._is_open:
            self._replay_retained(subscription)
        elif replay_last:
            self._wait_for_retained.append(subscription)
        self._redrive_asked()
        return subscription

    def _add(self, subscription: Subscription) -> None:
        subscription.worker.on_outcome = self._ended_in_memory
        super()._add(subscription)

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
            letters = [letter for letter in self.dead_letters if letter.id in asked]
            self.dead_letters.deliver_again(letters)
            asked -= {letter.id for letter in letters} - {letter.id for letter in self.dead_letters}

    # --- life ----------------------------------------------------------------------------------------------------

    async def _run(self, stops: int) -> None:
        """The dispatcher; opens the journal first."""
        await self._prepare()
        asyncio.get_running_loop().call_soon(self._started)
        await super()._run(stops)

    def _started(self) -> None:
        if self._runtime.is_running:
            self._redrive_asked()
            if self.retention is not None and (self._retaining is None or self._retaining.done()):
                seeing_to_it = retain(self.journal, self.retention, self._clock, lambda: self._runtime.is_running)
                self._retaining = self._runtime.start(seeing_to_it)

    async def connect(self) -> Self:
        """Open the journal and start the dispatcher as a task of the bus."""
        await self._prepare()
        await super().connect()
        self._started()
        return self

    async def _prepare(self) -> None:
        """Before it runs."""
        await self._open()

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
            await self._recovered()
        except BaseException:
            await self.journal.close()
            raise
        self._is_open = True
        self._keeper.opened()
        for subscription in self._wait_for_retained:
            if subscription.is_active:
                self._replay_retained(subscription)
        self._wait_for_retained.clear()

    async def _recovered(self) -> None:
        """The journal is open, and the bus has what it kept."""

    async def _end(self, timeout: float | None) -> ShutdownReport:
        if self._opening is not None:
            await asyncio.wait([self._opening])
        report = await super()._end(timeout)
        if self._is_open:
            await self._written()
            await self._keeper.flushed()
            await self.journal.close()
        return report

    async def _written(self) -> None:
        """Wait until everything accepted so far is in the journal, or refused by it."""

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
