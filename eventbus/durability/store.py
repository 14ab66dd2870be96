"""Store: what a bus keeps its events in. The bus asks it at the few points where surviving matters, and is the same bus over every store.

What is said here is true where nothing is kept, as in `MemoryStore`; `Journaled` puts a journal in its place.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from eventbus.dead_letter import DeadLetters
from eventbus.errors import PolicyConflict
from eventbus.road.receipt import answer_of

if TYPE_CHECKING:
    from eventbus.causality import Explanation, History
    from eventbus.dead_letter import DeadLetter
    from eventbus.durability.groups import Groups
    from eventbus.event import Event
    from eventbus.journal.protocol import Journal
    from eventbus.journal.values import Start, Trimmed
    from eventbus.road.burst import Burst
    from eventbus.road.house import Stations
    from eventbus.road.receipt import Receipt
    from eventbus.selector import Selector
    from eventbus.stats import GroupStats
    from eventbus.subscription import Subscription

Place = int | datetime | None
"""Where in the journal: an offset, a time, or (None) its end on that side."""


class Store:
    """Of one bus. What a journal does besides is empty here, or refused."""

    capabilities: frozenset[str] = frozenset()
    _stations: Stations
    _groups: Groups | None = None

    def attach(self, stations: Stations) -> None:
        """It belongs to a bus with these stations. Raises `PolicyConflict` where it belongs to another one."""
        if hasattr(self, "_stations"):
            raise PolicyConflict("store", "belongs to another bus: each has its own")
        self._stations = stations

    @property
    def journal(self) -> Journal:
        """What it is kept in. Raises `PolicyConflict` where nothing is."""
        raise _without_journal("journal")

    # --- life --------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Take over what an earlier process left. May be called often; raises what stands in the way."""

    async def opened(self) -> None:
        """Wait until an opening that was begun has ended, one way or the other."""

    def ending(self) -> None:
        """Nobody outside publishes any more: what began is to be finished."""

    def started(self) -> None:
        """The bus runs from now on."""
        if self._groups is not None:
            self._groups.start()

    async def close(self) -> None:
        """Finish what was accepted, then let go. The bus has ended."""
        if self._groups is not None:
            await self._groups.close()

    @property
    def is_taken(self) -> bool:
        """Is a journal held that a forked child must not touch?"""
        return False

    @property
    def is_behind(self) -> bool:
        """Is anything accepted on its way here, or left for groups to read?"""
        return self._groups is not None and self._groups.is_behind

    # --- subscriptions -----------------------------------------------------------------------------------------------

    def group_of(
        self,
        name: str | None,
        group: str | None,
        start: Start,
        options: Mapping[str, Any],
        selector: Selector,
        *,
        replay_last: bool,
        parts: int | None,
    ) -> str:
        """The group of a new subscription; empty: its name will be. Raises `PolicyConflict` for what cannot be."""
        self._may_have(parts, options)
        self._may_begin(start)
        chosen = self._readers().name_of(name, group, start, options, replay_last=replay_last)
        self._may_read(selector)
        return chosen

    def _may_begin(self, start: Start) -> None:
        """Raise `PolicyConflict` where there are no groups, or none can begin there."""

    def _may_read(self, selector: Selector) -> None:
        """Raise `PolicyConflict` where what is chosen is not there for groups."""

    def _readers(self) -> Groups:
        """Those who read here."""
        raise NotImplementedError

    def joined(self, group: str, subscription: Subscription, start: Start, parts: int | None) -> None:
        """A subscription reads for that group from now on."""
        raise NotImplementedError

    def _may_have(self, parts: int | None, options: Mapping[str, Any]) -> None:
        """Raise `PolicyConflict` where a group cannot have so many parts."""
        if parts not in (None, 1):
            raise PolicyConflict(
                "parts",
                f"{parts!r} is for processes that share a group: one process has one part; use postgresql://, redis:// or nats://",
            )

    def groups(self) -> tuple[GroupStats, ...]:
        """Those who read here, and how far they are behind."""
        return () if self._groups is None else self._groups.stats()

    def forgotten(self) -> tuple[str, ...]:
        """Groups that no process has read for in a long time."""
        return ()

    def subscribed(self, subscription: Subscription) -> None:
        """Somebody listens."""

    def replays_retained(self, subscription: Subscription) -> None:
        """Give a late subscriber the retained events, as soon as all of them are there."""
        self._stations.registry.replay_retained(subscription)

    # --- publish -----------------------------------------------------------------------------------------------------

    def written(self, receipt: Receipt, timeout: float | None) -> Awaitable[Receipt]:
        """Await it until its event is durable. Raises what stands in the way."""
        return receipt.written()

    async def ask(self, event: Event, publish: Callable[[Event], Awaitable[Receipt]], timeout: float | None) -> object:
        """What a handler answers. Raises what it raised, or `NoReply`."""
        return answer_of(event, await (await publish(event)))

    # --- what is kept aside ------------------------------------------------------------------------------------------

    def letters(self, redrive: Callable[[DeadLetter], bool]) -> DeadLetters:
        """Where the dead letters of the bus are listed; `redrive` delivers one of them again."""
        return DeadLetters(redrive, self)

    async def halted_everywhere(self, timeout: float) -> dict[str, bool | None]:
        """Which processes have seen the halt, or that it was cleared."""
        return {str(os.getpid()): True}

    async def accept_data_loss(self) -> None:
        """Go on with what is there. Raises `PolicyConflict` where nothing can be lost on the way."""
        raise PolicyConflict("accept_data_loss", "is for a bus over a server: here nothing is lost unseen")

    def halted(self, reason: str, token: str) -> None:
        """The kill switch was set."""

    async def rearmed(self) -> None:
        """It was cleared."""

    def letter_added(self, letter: DeadLetter) -> None:
        """A delivery was given up that no group has."""

    async def letters_purged(self, letters: list[DeadLetter]) -> None:
        """Dead letters were thrown away."""

    def again(self, letter: DeadLetter, burst: Burst) -> Burst:
        """The burst in which a dead letter is delivered again."""
        return burst

    # --- reading -----------------------------------------------------------------------------------------------------

    async def explain(self, event_id: str, history: History) -> Explanation:
        """The causal tree of an event. Raises `LookupError` when it is not remembered."""
        return history.explain(event_id)

    def replay(
        self,
        since: Place,
        until: Place,
        types: str,
        where: Callable[[Event], object] | None,
    ) -> AsyncIterator[Event]:
        """Events again. Raises `PolicyConflict` where none are kept."""
        raise _without_journal("replay")

    def flush(self) -> Coroutine[Any, Any, None]:
        """Wait until everything accepted so far is durable. Raises `PolicyConflict` where nothing ever is."""
        raise _without_journal("flush")

    def trim(
        self,
        *,
        before: int | datetime | None,
        max_bytes: int | None,
        force: bool,
    ) -> Coroutine[Any, Any, Trimmed]:
        """Remove old events. Raises `PolicyConflict` where none are kept."""
        raise _without_journal("trim")


def _without_journal(call: str) -> PolicyConflict:
    return PolicyConflict(
        call, "needs a journal, and a bus in memory has none: use create_event_bus('sqlite:///run.db')"
    )
