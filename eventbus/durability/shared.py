"""Shared: the store of a bus over a journal that other processes use at the same time.

The same stations as `Journaled`, and between them what others do: the tail, leases, one halt, dead letters of all, questions and
answers. Knows no server: only `SharedJournal`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from eventbus.bounds import seconds, whole
from eventbus.durability.asking import REPLY_TO, Asked, Asking
from eventbus.durability.forgotten import Forgotten
from eventbus.durability.group import Group
from eventbus.durability.journaled import Course, Journaled
from eventbus.durability.latching import Latching
from eventbus.durability.leases import CONTROL, Leases, parts_for
from eventbus.durability.letters import SharedLetters
from eventbus.durability.quotes import Quotes
from eventbus.durability.tail import Foreign, Tail
from eventbus.durability.tail_source import TailSource
from eventbus.durability.writing import WriteAhead
from eventbus.errors import BackendDataLoss, BusStopped, JournalError, JournalInUse, OutcomeUnknown, PolicyConflict
from eventbus.log import log
from eventbus.road.commit import NotYet
from eventbus.wording import shown

if TYPE_CHECKING:
    from eventbus.dead_letter import DeadLetter, DeadLetters
    from eventbus.durability.journaled import Behind
    from eventbus.durability.retention import Retention
    from eventbus.event import Event
    from eventbus.journal.shared import SharedJournal
    from eventbus.road.burst import Burst
    from eventbus.road.house import Stations
    from eventbus.road.receipt import Receipt

RUN = "run"
"""The lease of the one process that writes behind: it does again what a dead one had not written, so there is no other meanwhile."""

TRIM = "trim"
"""The lease of the one process that removes what is old."""


class Shared(Journaled):
    """What a bus keeps in a journal on a server, together with other processes.

    `lease` is how many seconds a process that died keeps its parts, `poll` how often the log is read where nobody tells that there is
    more, `timeout_s` how long a publish waits for the journal; `parts` of a group that says nothing of it. `on_data_loss`: `stop`
    until somebody accepts it, or `continue`. A group that no process reads for during `forget_after` seconds is told in `stats()`.
    """

    _journal: SharedJournal

    def __init__(
        self,
        journal: SharedJournal,
        *,
        lease: float = 10.0,
        poll: float = 1.0,
        timeout_s: float = 5.0,
        parts: int | None = None,
        on_data_loss: str = "stop",
        forget_after: float | None = None,
        journal_quotes: bool = True,
        retention: Retention | None = None,
        behind: Behind | None = None,
    ) -> None:
        super().__init__(journal, journal_quotes=journal_quotes, retention=retention, behind=behind)
        seconds("lease", lease)
        seconds("poll", poll)
        seconds("timeout_s", timeout_s)
        if parts is not None:
            whole("parts", parts)
        if on_data_loss not in ("stop", "continue"):
            raise PolicyConflict("on_data_loss", f"{shown(on_data_loss)} is neither 'stop' nor 'continue'")
        if forget_after is not None:
            seconds("forget_after", forget_after)
        self._forget_after = forget_after
        self.capabilities |= {"shared", "local_outcomes"}
        self._lease = lease
        self._poll = poll
        self._timeout_s = timeout_s
        self._parts = parts
        self._on_data_loss = on_data_loss
        self._loss: BackendDataLoss | None = None
        self._losses = 0
        self._tasks: set[asyncio.Future[Any]] = set()

    # --- life --------------------------------------------------------------------------------------------------------

    def _course(self, stations: Stations) -> Course:
        lifetime = stations.lifetime
        source = TailSource(self._journal, self._journal, self._quarantine, lifetime.clock)
        self._leases = Leases(
            self._journal,
            lifetime,
            self._trouble,
            ttl=self._lease,
            parts=self._parts,
            on_beat=self._look_around,
            on_gain=source.moved,
            on_loss=self._lost,
        )
        self._tail_source = source
        self._quotes = Quotes(
            self._journal, lambda: self._leases.process, stations.door, stations.retained, self._trouble, self._start
        )
        self._forgotten = Forgotten(self._journal, self._leases, lifetime.clock, self._forget_after)
        self._asking = Asking(self._journal, lifetime.clock, self._trouble, self._start)
        self._latching = Latching(
            self._journal, stations.latch, self._leases, self._trouble, lifetime.clock, self._lease
        )
        self._tail = Tail(
            self._journal,
            stations.door,
            stations.retained,
            self._trouble,
            source.entered,
            source.moved,
            self._made,
            self._quotes.spread,
            poll=self._poll,
        )
        source.follows(self._tail)
        return Course(source, self._leases, self._tail.took, self._tail.has_passed)

    def attach(self, stations: Stations) -> None:
        super().attach(stations)
        if isinstance(self._station, WriteAhead):
            self._tail.watches(self._station)
            self._station.asks(self._latching.must_see)
        if self._retention is not None:
            self._leases.wants(TRIM)

    async def _take_control(self) -> None:
        await self._leases.open()
        if self._behind is not None:
            await self._be_the_only_one()
        await self._latching.look()
        self._tail.begin(self._journal.last)

    async def _be_the_only_one(self) -> None:
        """Wait for the lease of whoever wrote before to run out. Raises `JournalInUse` where he lives."""
        self._leases.wants(RUN, self._is_not_the_only_one)
        until = asyncio.get_running_loop().time() + 1.5 * self._lease
        while not await self._leases.try_for(RUN):
            if asyncio.get_running_loop().time() > until:
                raise JournalInUse("on the server", f"another of {len(await self._journal.members())} processes")
            await asyncio.sleep(min(1.0, self._lease / 4))

    def _is_not_the_only_one(self) -> None:
        log.critical("the lease of this run was lost: it stops, for another process may write by now")
        self._stations.lifetime.stop()

    async def _take_over(self) -> None:
        await super()._take_over()
        self._start(self._leases.run())
        self._start(self._hear())
        self._start(self._asking.hear())
        if self._behind is None:  # who writes behind is the only one who writes, and knows what it dispatched
            self._start(self._tail.run())
            if isinstance(self._station, WriteAhead) and not self._with_quotes:
                self._start(self._quotes.hear(self._station.brought))

    def _start(self, work: Awaitable[Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hear(self) -> None:
        """Somebody hints at something: look at once."""
        async for what in self._hints():
            if what == b"latch":
                await self._told(self._latching.look)
            else:
                self._leases.look()
                self._look_for_letters()

    def _hints(self) -> AsyncIterator[bytes]:
        return self._journal.listen(CONTROL)

    async def _told(self, look: Callable[[], Awaitable[None]]) -> None:
        try:
            await look()
        except JournalError as error:
            self._trouble.tell("looking up waits for the journal", error)

    def _look_around(self) -> None:
        """With each beat: what nobody may have hinted at."""
        self._start(self._told(self._latching.look))
        self._start(self._told(self._forgotten.look))
        self._look_for_letters()

    def _look_for_letters(self) -> None:
        if self._stations.lifetime.is_running:
            self._start(self._told(lambda: self._letters.look(self._leases, self._may_redrive)))

    def _may_redrive(self, letter: DeadLetter) -> bool:
        subscription = self._stations.registry.find(letter.subscription)
        if subscription is None:
            return False
        feed = subscription.worker.feed
        return not isinstance(feed, Group) or feed.handles(letter.event)

    def started(self) -> None:
        super().started()
        self._leases.look()

    def ending(self) -> None:
        self._leases.ending()

    async def close(self) -> None:
        if not self._opening.is_open:
            return
        left = self._tail.left()
        for burst in left:
            burst.fail(BusStopped("await receipt"))
        await super().close()

    async def _let_go(self) -> None:
        await self._leases.close()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)

    # --- subscriptions -----------------------------------------------------------------------------------------------

    def _may_have(self, parts: int | None, options: Mapping[str, Any]) -> None:
        if callable(options.get("key")) and parts_for(parts or self._parts, options.get("concurrency", 1)) > 1:
            raise PolicyConflict(
                "key",
                "has to be the name of a field where a group has parts, for all processes cut it alike: or parts=1",
            )

    def forgotten(self) -> tuple[str, ...]:
        return self._forgotten.names

    # --- loss --------------------------------------------------------------------------------------------------------

    @property
    def losses(self) -> int:
        """How often the server had less than this process saw."""
        return self._losses

    def _lost(self, error: BackendDataLoss) -> None:
        """Told once: nothing is published or handled here until somebody accepts it, or it is to go on."""
        if self._loss is not None:
            return
        self._loss, self._losses = error, self._losses + 1
        log.error("data loss: %s", error, extra={"expected": error.expected, "found": error.found})
        if self._on_data_loss == "continue":
            self._start(self._told(self.accept_data_loss))
        else:
            self._leases.drop_all()

    async def accept_data_loss(self) -> None:
        await self._opening.open("accept_data_loss()")
        self._tail.suspend()  # what stands there by now is no news
        await self._journal.accept_data_loss()
        self._leases.drop_all()
        await self._leases.open()
        self._tail_source.forget()
        self._tail.begin(self._journal.last)
        self._latching.forget()
        self._loss = None
        await self._latching.look()
        self._leases.look()

    # --- publish -----------------------------------------------------------------------------------------------------

    async def written(self, receipt: Receipt, timeout: float | None) -> Receipt:
        if timeout is None:
            limit = self._timeout_s * 2  # the journal itself answers within its own
            try:
                return await receipt.written(limit)
            except NotYet:
                raise OutcomeUnknown(receipt.event_id, f"no answer within {limit:g} s") from None
        patience = asyncio.timeout(timeout)
        try:
            async with patience:
                return await receipt.written()
        except TimeoutError:
            if not patience.expired():
                raise
            raise OutcomeUnknown(receipt.event_id, f"no answer within {timeout:g} s") from None

    async def ask(self, event: Event, publish: Callable[[Event], Awaitable[Receipt]], timeout: float | None) -> object:
        return await self._asking.ask(event, publish, timeout)

    def _made(self, event: Event) -> Burst:
        """What an event of another process goes in."""
        burst = Foreign(event)
        return Asked(event, burst, self._asking.tell) if REPLY_TO in event.metadata else burst

    # --- what is kept aside ------------------------------------------------------------------------------------------

    def letters(self, redrive: Callable[[DeadLetter], bool]) -> DeadLetters:
        self._letters = SharedLetters(redrive, self._journal, lambda: self._aside)
        return self._letters

    def _redrive(self) -> None:
        self._look_for_letters()

    def _is_trimmer(self) -> bool:
        return self._leases.has(TRIM)

    def halted(self, reason: str, token: str) -> None:
        self._latching.halts()
        self._aside.write(lambda: self._latching.save(reason, token), "halt not saved in the journal")

    async def rearmed(self) -> None:
        await self._aside.done(self._latching.clear, "halt not removed from the journal")

    async def halted_everywhere(self, timeout: float) -> dict[str, bool | None]:
        await self._opening.open("halted_everywhere()")
        return await self._latching.seen_by(timeout)
