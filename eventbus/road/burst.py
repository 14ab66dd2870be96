"""Burst: events accepted in a row from one context: what they share, and who waits for them.

The door fills bursts, the lane carries them, the dispatcher deals out their parts, receipts point into them. It asks its parts for
outcomes, and knows how none of them is run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from eventbus.outcome import ABSENT, NONE_ALIKE, PENDING, Outcome, Outcomes
from eventbus.road.context import Cell, inside

if TYPE_CHECKING:
    from eventbus.dead_letter import DeadLetter
    from eventbus.event import Event
    from eventbus.road.commit import Commit
    from eventbus.road.gate import Gate
    from eventbus.road.part import Delivery, Part
    from eventbus.road.receipt import Receipt


class Burst:
    """Events accepted one after another from one context: they share their time, their cause and their context.

    While it is filled, what is published next may join it: `room` events in all, of the class `cls` or one of `joins`.
    """

    __slots__ = (
        "__dict__",
        "accepted_ns",
        "alike",
        "base",
        "cell",
        "cls",
        "commit",
        "context",
        "ended_parts",
        "events",
        "gates",
        "hops",
        "is_caused",
        "is_mixed",
        "is_noted",
        "is_routed",
        "is_simple",
        "is_urgent",
        "joins",
        "number",
        "parts",
        "pending_by_event",
        "pending_deliveries",
        "records",
        "room",
        "thread",
        "waiters",
    )

    # What few bursts need is said here once: making a burst is much of what an event on its own costs.
    failure: BaseException | None = None  # the journal did not take it
    receipts: list[Receipt] | None = None  # who follows its events, should they have to part
    offset: int | None = None
    durability = "memory"
    keeps_letters = False  # of its deliveries, besides memory
    is_foreign = False  # another process published it, and nobody here waits for what comes of it
    is_withdrawn = False  # its deliveries are another process's by now
    token: int | None = None  # of the lease that its deliveries are made under

    def __init__(
        self,
        event: Event,
        base: Context,
        hops: int,
        number: int,
        accepted_ns: int,
        is_urgent: bool = False,
        gates: Sequence[Gate] = (),
    ) -> None:
        self.events = [event]
        self.base = base
        self.hops = hops
        self.number = number  # in order of acceptance
        self.accepted_ns = accepted_ns
        self.is_urgent = is_urgent
        self.cls: type[Event] = type(event)
        self.is_mixed = False  # its events are of several classes
        self.gates = gates  # subscriptions whose own queues it has places in
        self.room = 0
        self.is_caused = False  # handlers publish its events
        self.is_noted = False  # events that join are told their cause, or written down
        self.parts: Sequence[Part] = ()
        self.is_routed = False
        self.is_simple = True  # each of its events goes to one subscription at most
        self.pending_deliveries = 0  # lossless ones, where an event has several
        self.pending_by_event: dict[int, int] | None = None  # the same by event, once somebody waits for places
        self.ended_parts = 0
        self.alike = NONE_ALIKE  # from where up to where all came to the same, and what that is
        self.waiters: dict[int, list[asyncio.Future[Outcomes]]] | None = None
        self.records: list[Any] | None = None  # its events as a journal keeps them, where they are written first
        self.commit: Commit | None = None  # its way into the journal, where it is written first

    def brought_in(self, number: int, accepted_ns: int) -> None:
        """Another process accepted it; here it has this number, and came now."""
        self.number, self.accepted_ns = number, accepted_ns

    # --- while it is filled ----------------------------------------------------------------------------------------

    def invite(
        self,
        room: int,
        thread: int,
        context: Context,
        joins: Collection[type[Event]],
        cell: Cell | None,
        is_caused: bool,
    ) -> None:
        """What is published next may join, up to `room` events in all."""
        self.room = room
        self.thread = thread
        self.context: Context | None = context  # who publishes from an equal one may join
        self.joins = joins
        self.cell = cell  # who publishes from its clean context may join
        self.is_caused = self.is_noted = is_caused

    def is_recorded(self, records: list[Any], receipts: list[Receipt] | None) -> None:
        """A journal keeps its events so; `receipts` follow them, where they are written first."""
        self.records, self.receipts, self.is_noted = records, receipts, True

    def also(self, event: Event) -> None:
        """This one follows, on its way here from elsewhere."""
        if type(event) is not self.cls:
            self.mix()
        self.events.append(event)

    def mix(self) -> None:
        """An event of another class joins."""
        self.is_mixed = True

    def admit_none(self) -> None:
        """Nothing joins any more, though it stays the one that is filled."""
        self.room = 0

    def close(self) -> int:
        """Nothing joins any more; gives how many events it has."""
        self.room, self.context, self.cell = 0, None, None
        return len(self.events)

    # --- into a journal --------------------------------------------------------------------------------------------

    def waits_for(self, commit: Commit) -> None:
        """It is on its way into a journal."""
        self.commit = commit

    def parted(self) -> list[Burst]:
        """A burst for each of its events, as if they had never shared one; whoever waits for one of them waits there."""
        waiters, self.waiters = self.waiters or {}, None
        parts = []
        for index, event in enumerate(self.events):
            part = Burst(event, self.base, self.hops, self.number, self.accepted_ns, self.is_urgent, self.gates)
            if self.records is not None:
                part.records = [self.records[index]]
            if self.receipts is not None:
                part.receipts = [self.receipts[index]]
                self.receipts[index].move(part)
            if index in waiters:
                part.waiters = {0: waiters[index]}
            parts.append(part)
        return parts

    def written(self, offset: int | None, durability: str) -> None:
        """It is as durable as that, from that place in the journal on."""
        self.offset, self.durability = offset, durability

    def hand_over(self) -> list[Any]:
        """What a journal keeps of its events, for the last time: they cannot part any more."""
        records, self.records, self.receipts = self.records or [], None, None
        return records

    # --- dealt out -------------------------------------------------------------------------------------------------

    def routed(self, parts: Sequence[Part], most: int) -> int:
        """Everybody it goes to has their part; an event has `most` deliveries at most. Gives the places free now."""
        self.parts, self.is_routed, self.is_simple = parts, True, most < 2
        pending = 0  # lossless deliveries of parts that have not ended already
        for part in parts:
            if part.is_lossless:
                pending += len(part.events)
        free = len(self.events) - pending
        if pending and most > 1:
            self.pending_deliveries, free = pending, 0  # all of them together, when the last has ended
        if self.waiters:
            whole = max(1, len(parts)) * len(self.events)
            if pending < whole or any(part.done for part in parts):
                self._wake([*self.waiters])  # some have their outcomes already, or go to nobody
        if self.ended_parts == len(parts):
            self._let_go()
        return free

    def passed(self, part: Part, first: int, upto: int, ended: int) -> int:
        """A part went on from `first` to `upto`, and `ended` of these have their outcome; gives the places free now."""
        if self.waiters:
            self._wake([part.index(place) for place in range(first, upto)])
        if not (part.is_lossless and self.is_routed):
            return 0
        if self.is_simple:
            return ended
        if self.pending_by_event is not None:
            return self._give_back(part, [place for place in range(first, upto) if part.odd.get(place) is not PENDING])
        self.pending_deliveries -= ended
        return 0 if self.pending_deliveries or not ended else len(self.events)

    def finished(self, delivery: Delivery, _outcome: Outcome, _letter: DeadLetter | None) -> int:
        """A delivery that is followed by itself has its outcome; gives the places free now."""
        part = delivery.part
        if self.waiters:
            self._wake((part.index(delivery.place),))
        if not (part.is_lossless and self.is_routed):
            return 0
        if self.is_simple:
            return 1
        if self.pending_by_event is not None:
            return self._give_back(part, (delivery.place,))
        self.pending_deliveries -= 1
        return 0 if self.pending_deliveries else len(self.events)

    def _give_back(self, part: Part, places: Iterable[int]) -> int:
        assert self.pending_by_event is not None
        free = 0
        for place in places:
            index = part.index(place)
            self.pending_by_event[index] -= 1
            free += not self.pending_by_event[index]
        return free

    @property
    def is_spread(self) -> bool:
        """Does it hold the places of all its events until the last of several deliveries has ended?"""
        return self.pending_deliveries > 0 and self.pending_by_event is None

    def count_by_event(self) -> int:
        """Somebody waits for places: from now on each event gives back its own. Gives the places free now."""
        counts = dict.fromkeys(range(len(self.events)), 0)
        for part in self.parts:
            if part.is_lossless:
                for place in part.pending_places():
                    counts[part.index(place)] += 1
        self.pending_by_event = counts
        return sum(not count for count in counts.values())

    async def begins_again(self, delivery: Delivery) -> None:
        """A delivery is about to get another attempt: a durable group has it counted first."""

    # --- outcomes --------------------------------------------------------------------------------------------------

    def outcomes(self, index: int) -> Outcomes | None:
        """One per subscription; None while one is missing."""
        first, upto, alike = self.alike
        if first <= index < upto:
            return alike
        if not self.is_routed:
            return None
        found = []
        for part in self.parts:
            outcome = part.outcome(index)
            if outcome is PENDING:
                return None
            if outcome is not ABSENT:
                found.append(outcome)
        if len(self.parts) == 1:
            self.alike = self.parts[0].alike
        return tuple(found)

    async def settled(self, index: int, event: Event) -> Outcomes:
        """Wait for the last outcome. Raises what the journal answered, and `WouldDeadlock` for a handler that waits for itself."""
        if self.failure is not None:
            raise self.failure
        future: asyncio.Future[Outcomes] = asyncio.get_running_loop().create_future()
        if self.waiters is None:
            self.waiters = {}
        self.waiters.setdefault(index, []).append(future)
        try:
            mark = inside()
            if mark is None:
                return await future
            with mark[0].worker.lifetime.waits.of(mark, self, index, event, future):
                return await future
        except BaseException:
            self._waits_no_more(index, future)
            raise

    def _waits_no_more(self, index: int, future: asyncio.Future[Outcomes]) -> None:
        """Whoever waited for that has given up."""
        future.cancel()  # its event may have parted meanwhile, and it stands elsewhere
        waiters = self.waiters or {}
        waiting = waiters.get(index, [])
        if future in waiting:
            waiting.remove(future)
            if not waiting:
                del waiters[index]

    def _wake(self, indices: Iterable[int]) -> None:
        """Something ended: tell those whose event it was the last of."""
        waiters = self.waiters or {}
        for index in indices:
            if index in waiters and (outcomes := self.outcomes(index)) is not None:
                for future in waiters.pop(index):
                    if not future.done():
                        future.set_result(outcomes)

    def fail(self, error: BaseException) -> None:
        """It is never settled here: whoever waits is told why, and whoever asks later."""
        if self is SEALED:  # it was
            return
        self.failure = error
        waiters, self.waiters = self.waiters or {}, None
        for future in (future for waiting in waiters.values() for future in waiting):
            if not future.done():
                future.set_exception(error)

    def ended(self) -> Burst:
        """One more of its parts has ended, and lets go of it; gives what stands in its place there."""
        self.ended_parts += 1
        if self.is_routed and self.ended_parts == len(self.parts):
            self._let_go()
        return SEALED

    def _let_go(self) -> None:
        """All parts have ended: a receipt that is kept keeps no other event than its own."""
        self.events, self.base, self.gates = SEALED.events, _NOWHERE, ()


_NOWHERE = Context()
# Stands where no burst is filled, and where one was that has ended: it admits nothing, and nobody waits for it.
SEALED: Final = Burst(None, _NOWHERE, 0, -1, 0)  # type: ignore[arg-type] # there is no event
SEALED.events.clear()
