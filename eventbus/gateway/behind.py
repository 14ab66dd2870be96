"""Behind: how a client that has fallen behind, or came back, gets to be with the others again.

A task that exists only meanwhile: it empties the outbox whenever the line is ready, and then reads on, from the ring or the
journal: first what subscriptions asked for of what was before them, then what was dispatched since.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from eventbus import Clock, EventBusError
from eventbus.gateway.feed import Feed, Gone, Item

if TYPE_CHECKING:
    from eventbus.gateway.counts import Counts
    from eventbus.gateway.line import Line
    from eventbus.gateway.listening import Topic
    from eventbus.gateway.outbox import Outbox

SLOW_S = 5.0
"""How long an outbox may be full."""

_AT_ONCE = 64 * 1024  # bytes written before the line is asked again whether it is ready

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Replay:
    """What a subscription still has to be given of what was before it. What the `known` topics wanted was sent before."""

    topics: list[Topic]
    at: int
    until: int
    told: bytes  # when it is through
    known: Collection[Topic] = ()

    def topics_of(self, item: Item) -> list[Topic]:
        """Those of its topics that get this one."""
        name = item.event.type
        if any(one.since < item.seq and one.fits(name) and one.wants(item.event) for one in self.known):
            return []
        return [one for one in self.topics if one.fits(name)]

    def reached(self, at: int) -> None:
        """It was given everything up to there."""
        self.at = at


class Owner(Protocol):
    """The client, as far as what is behind needs it."""

    def give(self, item: Item, topics: Sequence[Topic], *, as_value: bool) -> bool: ...

    def wanting(self, type_name: str) -> tuple[Topic, ...]: ...

    @property
    def may_read(self) -> Callable[[str], bool]:
        """May it see events of this type?"""
        ...

    def flush_batch(self) -> bool:
        """Send what its batch has gathered; False where there is no room."""
        ...

    def told(self, frame: bytes) -> None: ...

    def lost(self, code: int, reason: str) -> None: ...


class Behind:
    """The part of one client that catches up."""

    def __init__(self, owner: Owner, line: Line, outbox: Outbox, feed: Feed, counts: Counts, clock: Clock) -> None:
        self._owner = owner
        self._line = line
        self._outbox = outbox
        self._feed = feed
        self._counts = counts
        self._clock = clock
        self._lag: int | None = None  # while it reads by itself: up to where it has everything
        self._replays: deque[Replay] = deque()
        self._task: asyncio.Task[None] | None = None
        self._full_ns: int | None = None  # since when it cannot be given what is next
        self.sent = 0  # the highest number that left it

    @property
    def is_working(self) -> bool:
        """Does the task exist?"""
        return self._task is not None

    @property
    def is_reading(self) -> bool:
        """Is what is live not for it?"""
        return self._lag is not None

    @property
    def is_full(self) -> bool:
        """Is there no room for what is live?"""
        return self._full_ns is not None

    @property
    def position(self) -> int:
        """Up to which number it was given everything that does not wait for its time."""
        return self._feed.dealt if self._lag is None else self._lag

    def fall(self, at: int) -> None:
        """There is no room: from this number on it reads by itself, and its time runs."""
        if self._lag is None:
            self._lag = at
        self.full()
        self.work()

    def full(self) -> None:
        """There is no room, from now on unless it was so before."""
        if self._full_ns is None:
            self._full_ns = self._clock.monotonic_ns()

    def replay(self, replay: Replay) -> None:
        """Give it what was before, and then go on; what is live waits meanwhile."""
        if self._lag is None:
            self._lag = self._feed.dealt
        self._replays.append(replay)
        self.work()

    def forget(self, gone: Collection[object]) -> None:
        """These topics get nothing more of what was before."""
        for replay in self._replays:
            replay.topics[:] = [one for one in replay.topics if one not in gone]

    def jump(self, number: int) -> None:
        """What was before this number is of no use any more."""
        self._replays.clear()
        if self._lag is not None:
            self._lag = number

    def is_slow(self, now_ns: int) -> bool:
        """Was its outbox full for too long?"""
        return self._full_ns is not None and now_ns - self._full_ns >= SLOW_S * 1e9

    def work(self) -> None:
        """Something waits."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._catch_up())

    def end(self) -> None:
        """Nothing is sent any more."""
        if self._task is not None:
            self._task.cancel()
        self._replays.clear()

    async def _catch_up(self) -> None:
        try:
            while self._line.is_open:
                await asyncio.sleep(0)  # a line that is always ready must not keep the loop, nor whoever gave it work
                await self._line.until_ready()
                if self._empties() and not await self._read_on():
                    break
        except Gone:
            self._owner.lost(1013, "slow_consumer")
        except EventBusError:
            _log.exception("journal failed")
            self._owner.lost(1011, "journal_unavailable")
        finally:
            self._task = None

    def _empties(self) -> bool:
        """Write what waits while the line is ready; True when nothing waits."""
        while len(self._outbox) and self._line.is_ready:
            frames, seq = self._outbox.take(_AT_ONCE)
            self._line.write(frames)
            self.sent = max(self.sent, seq)
        if len(self._outbox) or not self._line.is_ready:
            return False
        self._full_ns = None  # it takes all that it is given: if it is late, that is not its fault
        return True

    async def _read_on(self) -> bool:
        """The next page; False when it is with the others again."""
        replay = self._replays[0] if self._replays else None
        after, until = (self.position, self._feed.dealt) if replay is None else (replay.at, replay.until)
        if after >= until:
            return self._is_through(replay)
        epoch = self._feed.ring.epoch
        items, reached = await self._feed.read(after, until)
        if epoch != self._feed.ring.epoch:
            return True
        for item in items:
            topics = self._live_topics_of(item) if replay is None else self._topics_of(replay, item)
            if not topics:
                continue
            if not self._owner.give(item, topics, as_value=replay is None):
                reached = item.seq - 1
                self.full()
                break
            self._counts.replayed(1)
        if replay is None:
            self._lag = reached
        else:
            replay.reached(reached)
        return True

    def _is_through(self, replay: Replay | None) -> bool:
        """True while there is more to do."""
        if not self._owner.flush_batch():
            return True
        if replay is not None:
            self._replays.popleft()
            self._owner.told(replay.told)
            return True
        if len(self._outbox):
            return True
        self._lag = None
        return False

    def _topics_of(self, replay: Replay, item: Item) -> Sequence[Topic]:
        return replay.topics_of(item) if self._owner.may_read(item.event.type) else ()

    def _live_topics_of(self, item: Item) -> Sequence[Topic]:
        return [one for one in self._owner.wanting(item.event.type) if one.since < item.seq]
