"""Group: a subscription with cursors. It reads a log, never the lane: behind, perhaps, but never full.

Its work is cut into parts by key, and it handles those that its holding gives it: one, or what falls to this process. Attempts are
counted before they start, outcomes are committed after they are known, so pending deliveries go on after a restart, here or in
another process, and a poison event cannot loop for ever. What was in flight when a process died runs alone first, one at a time. A
crash repeats at most what had begun and was not committed yet: 256 deliveries, whatever the handlers do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any

from eventbus.durability.beginning import Beginning
from eventbus.durability.choosing import Choosing
from eventbus.durability.committing import Committing
from eventbus.durability.following import Following
from eventbus.durability.passage import Passage
from eventbus.durability.share import Share, part_for
from eventbus.durability.trouble import Patience
from eventbus.durability.watched import Watch
from eventbus.errors import JournalError, OffsetGone, PolicyConflict
from eventbus.journal.values import Settled
from eventbus.log import log
from eventbus.outcome import Status
from eventbus.road.withdrawal import withdraw

if TYPE_CHECKING:
    from eventbus.dead_letter import DeadLetter
    from eventbus.durability.holding import Holding
    from eventbus.durability.source import Source
    from eventbus.durability.trouble import Trouble
    from eventbus.event import Event
    from eventbus.journal.shared import Lease
    from eventbus.journal.values import Start
    from eventbus.outcome import Outcome
    from eventbus.road.burst import Burst
    from eventbus.road.lifetime import Lifetime
    from eventbus.road.part import Part
    from eventbus.subscription import Subscription


class Group:
    """Feeds one durable subscription, and commits what became of it."""

    def __init__(
        self,
        name: str,
        subscription: Subscription,
        source: Source,
        holding: Holding,
        lifetime: Lifetime,
        trouble: Trouble,
        start: Start,
        since: int,
        previous: Group | None,
        left: Callable[[Group], None],
        parts: int | None,
    ) -> None:
        self.name = name
        self.subscription = subscription
        self.start_at = start
        self.wanted_parts = parts  # None: as its policy and its journal say
        self.parts = 1
        self.shares: dict[int, Share] = {}  # of this process, by part
        self.overtaken = 0  # places that were removed before this group read them
        self._worker = subscription.worker
        self._source = source
        self._holding = holding
        self._lifetime = lifetime
        self._trouble = trouble
        self._previous = previous  # of the same group, in this process
        self._left = left  # called when its subscription is cancelled
        self._watch = Watch(self._worker)
        self._task: asyncio.Task[Any] | None = None
        self._is_open = False
        self._committing = Committing(name, self.shares, source, lifetime, trouble, self.lost, lambda: self.is_over)
        self._beginning = Beginning(self._worker, self, source, lifetime, trouble, self.lost, self._committing.until)
        self._choosing = Choosing(subscription, since, self._beginning.give_up)
        self._following = Following(self, source, lifetime, self._choosing, self._beginning, self._committing)

    @property
    def is_over(self) -> bool:
        """Was its subscription cancelled?"""
        return self._worker.is_cancelled

    @property
    def position(self) -> int:
        """Read and delivered up to here, as far as it is this process's to do."""
        return min((share.position for share in self.shares.values() if share.takes), default=self._source.last)

    @property
    def lag(self) -> int:
        """Places that this group has not read yet."""
        return max(0, self._source.last - self.position) if self._is_open else 0

    @property
    def is_behind(self) -> bool:
        """Is there anything that this group has not finished, or not committed?"""
        if not self._is_open:
            return self._lifetime.is_running
        return bool(self.lag or self._worker.tally.pending or self._committing.is_due or self._committing.is_running)

    @property
    def is_finished(self) -> bool:
        """Has all that had begun an outcome, and is every outcome committed?"""
        is_known = not any(share.unfinished or share.has_news for share in self.shares.values())
        return is_known and not (self._committing.is_running or self._worker.tally.pending)

    # --- life ------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Find the places to go on from; a new group begins now. Raises `ValueError` for a start that is none."""
        if self._is_open:
            return
        if self._previous is not None:
            await self._previous.finished()
            await self._holding.let_go(self._previous)
            self._previous = None
        try:
            await self._holding.begin(self)
            self._is_open = True
        except PolicyConflict as error:
            self._cannot(error)

    async def begin_or_end(self) -> None:
        """As `open`; where that cannot be, its subscription ends, and says why."""
        try:
            await self.open()
        except ValueError as error:
            self._cannot(error)

    async def ready(self) -> None:
        """Wait until it is there for all processes, where there are others."""
        try:
            await self._holding.ready(self)
        except PolicyConflict as error:
            self.subscription.fail(error)

    def start(self) -> None:
        """Read, deliver and commit from now on, until the bus stops."""
        if self._task is None or self._task.done() or self._task.get_loop() is not self._lifetime.loop:
            self._committing.start()
            self._beginning.start()
            self._following.forget()
            self._task = self._lifetime.crew.start(self._run())
        self._committing.flush()

    def end(self) -> None:
        """The subscription or the bus is gone. What is pending stays so in the log."""
        self._committing.look_up()
        self._following.end()
        if self._following.waits and self._task is not None:
            self._task.cancel()
        self._watch.end()

    async def close(self) -> None:
        """The bus has ended: what is known is committed."""
        self.end()
        await self._committing.run()

    async def finished(self) -> None:
        """Wait until all that had begun has an outcome, and every outcome is committed."""
        while not self.is_finished:
            if self._committing.is_running or not any(share.has_news for share in self.shares.values()):
                await self._committing.change()
            else:
                await self._committing.run()

    # --- parts -----------------------------------------------------------------------------------------------------

    def made_of(self, parts: int, start: Start) -> None:
        """So many parts it has, everywhere, and those that nobody read yet begin there."""
        self.parts, self.start_at = parts, start
        self._committing.of_parts(parts)

    async def gained(self, lease: Lease, until_ns: float) -> None:
        """A part is this process's, until then at least. Raises what the journal answers."""
        share = Share(lease, await self._source.open_part(lease, self.start_at), until_ns)
        if share.part in self.shares and self.shares[share.part].lease.token == lease.token:
            return  # it was opened meanwhile
        self.shares[share.part] = share
        self._watch.gone(lambda offset, event: offset <= share.cursor.floor and self.part_of(event) == share.part)
        self._committing.look_up()

    def lost(self, share: Share) -> None:
        """It is another's, or may be: nothing of it starts here, and nothing that is known of it is told."""
        if share.is_lost:
            return
        share.lose()
        self._out_of_hand(share)
        withdraw(self._worker, lambda burst: isinstance(burst, Passage) and burst.share is share)
        self._holding.lost(share.lease)

    def gave_up(self, share: Share) -> None:
        """All that began of it is committed: it is given to another process."""
        share.lose()
        self._out_of_hand(share)

    def handles(self, event: Event) -> bool:
        """Is this event's part this process's?"""
        share = self.shares.get(self.part_of(event))
        return share is not None and share.takes

    def look_up(self) -> None:
        """Something that it does not ask about changed: what is known is to be committed."""
        self._committing.look_up()
        self._committing.all()

    def _out_of_hand(self, share: Share) -> None:
        if self.shares.get(share.part) is share:
            del self.shares[share.part]
        self._watch.gone(lambda _offset, event: self.part_of(event) == share.part)
        self._committing.look_up()

    def part_of(self, event: Event | None, event_id: str = "") -> int:
        """Which of its parts an event is in; of what nobody can read, its id says."""
        return 0 if self.parts == 1 else part_for(self.subscription.policy, self.parts, event, event_id)

    # --- reading ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        patience = Patience()
        while self._lifetime.is_running and not self._worker.is_cancelled:
            try:
                await self.open()
                await self._following.read_on()
                patience.worked()
            except OffsetGone as gone:
                self._skip_gone(gone)
            except JournalError as error:
                self._following.forget()  # what failed is read again
                self._trouble.tell("durable subscription waits for its journal", error, group=self.name)
                await patience.wait()
            except ValueError as error:
                self._cannot(error)

    def _skip_gone(self, gone: OffsetGone) -> None:
        """What this group had not read is removed: say so, and go on with what is left."""
        lost = gone.oldest - 1 - self.position
        self.overtaken += lost
        log.error(
            "durable subscription %s was overtaken: %d events were removed before it read them",
            self.name,
            lost,
            extra={"group": self.name, "error": str(gone), "records": lost},
        )
        self._following.goes_on_at(gone.oldest)

    def _cannot(self, error: Exception) -> None:
        if self.subscription.is_active:
            extra = {"group": self.name, "error": str(error)}
            log.error("durable subscription cannot start: %s", error, extra=extra)
        self.subscription.fail(error)

    async def count_again(self, share: Share, offset: int) -> None:
        """Another attempt begins."""
        await self._beginning.count_again(share, offset)

    # --- outcomes --------------------------------------------------------------------------------------------------

    def arrived(self, burst: Burst, events: Sequence[Event], indices: Sequence[int] | None) -> Part | None:
        """The dispatcher offers events: whoever waits for their outcomes waits for those of this subscription too."""
        first, where = self._source.place_of(burst), self.subscription.policy.where
        if first is None:
            return None
        places = range(len(events)) if indices is None else indices
        if where is not None:
            heard = [self._hears(first + index, event) for index, event in zip(places, events, strict=True)]
            if not any(heard):
                return None
            indices, events = [*compress(places, heard)], [*compress(events, heard)]
        return self._watch.arrived(first, burst, events, indices, self._is_elsewhere)

    def _hears(self, offset: int, event: Event) -> bool:
        return self._choosing.hears(offset, event, is_ahead=offset > self.position)

    def _is_elsewhere(self, offset: int, event: Event) -> bool:
        """Is it settled, or another process's to handle?"""
        if not self._is_open:
            return False
        share = self.shares.get(self.part_of(event))
        return share is None or not share.takes or share.cursor.is_settled(offset)

    def ended(self) -> None:
        """The subscription was cancelled: no attempt starts any more, and what had begun is still committed."""
        self._left(self)
        self.end()

    def succeeded(self, burst: Passage, part: Part, places: Sequence[int], ended: int) -> None:
        """Deliveries that simply succeeded, of so many that ended."""
        burst.share.ended(ended)
        if burst.share.is_lost:
            return
        if places:
            now_ns, told = self._lifetime.clock.monotonic_ns(), part.outcome(places[0])
            for place in places:
                outcome = part.outcome(place) if part.odd else told  # else they simply succeeded, all in a row
                queued_ns = max(0, now_ns - burst.accepted_ns - int(outcome.ran_s * 1e9) * len(places))
                self._note(burst.share, burst.offsets[place], outcome, queued_ns)
        self._committing.look_up()
        self._committing.flush()

    def settled(self, share: Share, offset: int, outcome: Outcome, letter: DeadLetter | None) -> None:
        """A delivery that was followed by itself has its outcome."""
        share.ended(1)
        if outcome.status is Status.CANCELLED or share.is_lost:
            self._committing.look_up()
            return  # the subscription ended, or the bus, or the lease, not the delivery: it stays pending for the group
        self._note(share, offset, outcome, int(outcome.queued_s * 1e9), letter)
        self._committing.look_up()
        self._committing.flush()

    def _note(
        self, share: Share, offset: int, outcome: Outcome, queued_ns: int, letter: DeadLetter | None = None
    ) -> None:
        self._watch.tell(offset, outcome)
        ran_ns = int(outcome.ran_s * 1e9)
        share.settle(Settled(offset, outcome.status.value, outcome.attempts, queued_ns, ran_ns), letter)
