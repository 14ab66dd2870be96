"""Client: one connection as the hub sees it: what it listens to, and what is on its way to it.

While it keeps up, frames go straight to its line, those of one turn of the loop together; otherwise they wait in its outbox, and
what has no room there it reads later by itself. Nobody ever waits for a client.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from eventbus import Clock, Kind
from eventbus.gateway.behind import Behind, Replay
from eventbus.gateway.listening import Chart, Topic, ids_of, key_of
from eventbus.gateway.outbox import Outbox
from eventbus.gateway.pace import Batch, Pace
from eventbus.gateway.wire import framed, message

if TYPE_CHECKING:
    from eventbus.gateway.counts import Counts
    from eventbus.gateway.feed import Feed, Item
    from eventbus.gateway.line import Line

_TYPES = 1_024  # they may come from outside by the thousand
_AT_ONCE = 64 * 1024  # bytes written before the line is asked again whether it is ready


class Client:
    """One connection. `may_read` says whether it may see events of a type, `is_known` whether it is still let in;
    `touched` is told when frames wait to be flushed."""

    def __init__(
        self,
        line: Line,
        feed: Feed,
        counts: Counts,
        clock: Clock,
        *,
        touched: Callable[[Client], object],
        may_read: Callable[[str], bool],
        is_known: Callable[[], bool],
    ) -> None:
        self.line = line
        self.topics: dict[tuple[str | None, str], Topic] = {}
        self.charts: dict[tuple[str | None, int], Chart] = {}
        self.may_read = may_read
        self.is_known = is_known
        self._wanting: dict[str, tuple[Topic, ...]] = {}  # what is known of its topics by type
        self._counts = counts
        self._clock = clock
        self._touched = touched
        self._outbox = Outbox()
        self._behind = Behind(self, line, self._outbox, feed, counts, clock)
        self._burst: list[bytes] = []  # on its way to the line, in this turn of the loop
        self._burst_bytes = 0
        self._is_direct = True
        self._sent = 0  # the highest number handed to the line
        self._batch = Batch(lambda frame, seq, topics: self._put("batch", frame, seq, None, topics))
        self._pace = Pace(self._put_value)
        self._heard_ns = self._asked_ns = clock.monotonic_ns()
        line.listen(self._hear)

    # --- events ----------------------------------------------------------------------------------------------------------

    def wanting(self, type_name: str) -> tuple[Topic, ...]:
        """Its topics that events of this type go to."""
        found = self._wanting.get(type_name)
        if found is None:
            if len(self._wanting) >= _TYPES:
                self._wanting.clear()
            fitting = (one for one in self.topics.values() if one.fits(type_name))
            found = self._wanting[type_name] = tuple(fitting) if self.may_read(type_name) else ()
        return found

    def changed(self) -> None:
        """It listens to other topics now."""
        self._wanting.clear()

    def offer(self, item: Item, topics: Sequence[Topic]) -> None:
        """A live event that goes to these topics of it, their filters aside."""
        if not self._behind.is_reading and not self.give(item, topics, as_value=True):
            self._behind.fall(item.seq - 1)

    def give(self, item: Item, topics: Sequence[Topic], *, as_value: bool) -> bool:
        """Send it, or let it wait; False where there is no room. As a value it may give way to a newer one, if it is a QUOTE."""
        is_value = as_value and item.event.__event__.kind is Kind.QUOTE
        if len(topics) > 1 or not topics[0].is_plain:
            topics = [one for one in topics if not one.where or one.wants(item.event)]
            if not topics:
                return True
            if is_value and all(one.pacing for one in topics):
                self._pace.add(item, topics, key_of(item.event), self._outbox.skipped)
                return True
            if all(one.batch_ms for one in topics):
                return self._batch.add(item, topics)
        if self._batch and not self._batch.flush():
            return False
        key = key_of(item.event) if is_value else None
        return self._put("event", item.frame_for(ids_of(topics)), item.seq, key, topics)

    def flush_batch(self) -> bool:
        """Send what its batch has gathered; False where there is no room."""
        return self._batch.flush()

    def flush(self) -> int:
        """Hand what this turn of the loop brought to the line; gives how many frames."""
        burst = self._burst
        if burst:
            self._burst, self._burst_bytes = [], 0
            self.line.write(burst)
            self._is_direct = self.line.is_ready
        return len(burst)

    def _put(
        self, kind: str, frame: bytes, seq: int = 0, key: Hashable = None, listening: Sequence[Topic | Chart] = ()
    ) -> bool:
        self._is_direct = self._is_direct or not self.is_behind
        if self._is_direct:
            if not self._burst:
                self._touched(self)
            self._burst.append(frame)
            self._burst_bytes += len(frame)
            self._sent = max(self._sent, seq)
            if self._burst_bytes >= _AT_ONCE:
                self.flush()
        elif self._outbox.offer(frame, seq, key, listening):
            self._behind.work()
        else:
            return False
        self._counts.sent[kind] += 1
        return True

    def _put_value(self, item: Item, topics: Sequence[Topic]) -> bool:
        """A value whose turn it is, after what tells how many it stands for."""
        if self._behind.is_reading or not self._batch.flush():
            return False
        for gap in self._outbox.gaps():
            self.say_framed("gap", gap)
        return self._put("event", item.frame_for(ids_of(topics)), item.seq, key_of(item.event), topics)

    # --- what it is told -------------------------------------------------------------------------------------------------

    def say(self, kind: str, **fields: Any) -> None:
        """An answer. It waits its turn behind what was sent before, and has room always."""
        self.say_framed(kind, framed(message(kind, fields)))

    def say_framed(self, kind: str, frame: bytes, listening: Sequence[Chart] = ()) -> None:
        """The same, for a frame that is made once for many."""
        self._batch.flush()
        if not self._put(kind, frame, 0, None, listening):
            self._outbox.force(frame, 0, None, listening)
            self._counts.sent[kind] += 1
            self._behind.full()
            if self._outbox.is_bursting:
                self.lost(1013, "slow_consumer")

    def told(self, frame: bytes) -> None:
        """That it has caught up."""
        self.say_framed("caught_up", frame)

    # --- where it is -----------------------------------------------------------------------------------------------------

    @property
    def is_behind(self) -> bool:
        """Does anything wait for it?"""
        return self._behind.is_working or len(self._outbox) > 0 or not self.line.is_ready

    @property
    def is_full(self) -> bool:
        """Is there no room for what is live?"""
        return self._behind.is_full

    @property
    def position(self) -> int:
        """Up to which number it was sent everything that it listens to."""
        waiting = [number - 1 for number in (self._pace.oldest, self._batch.oldest) if number is not None]
        return min(self._behind.position, *waiting) if waiting else self._behind.position

    @property
    def last_sent(self) -> int:
        """The number after which it goes on when it comes back."""
        return max(self._sent, self._behind.sent) or self.position

    @property
    def waiting_bytes(self) -> int:
        """What waits for it, in its outbox and on its line."""
        return self._outbox.bytes + self.line.buffered

    @property
    def conflated(self) -> int:
        """Values that it was not sent because newer ones were."""
        return self._outbox.conflated

    def is_slow(self, now_ns: int) -> bool:
        """Was its outbox full for too long?"""
        return self._behind.is_slow(now_ns)

    # --- whether it is there ---------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        self._heard_ns = self._clock.monotonic_ns()

    def is_gone(self, now_ns: int, patience_s: float) -> bool:
        """Was nothing heard of it for so long?"""
        return now_ns - self._heard_ns >= patience_s * 1e9

    def ask(self, now_ns: int, every_s: float) -> None:
        """Ping it, if the last time was so long ago."""
        if now_ns - self._asked_ns >= every_s * 1e9:
            self._asked_ns = now_ns
            self.line.ping()

    # --- what changes ----------------------------------------------------------------------------------------------------

    def replay(self, replay: Replay) -> None:
        """Give it what was before, and then go on; what is live waits meanwhile."""
        self.flush()
        self._is_direct = False
        self._behind.replay(replay)

    def forget(self, gone: Collection[Topic | Chart]) -> None:
        """What still waits for these and nobody else is not sent."""
        self._batch.drop(gone)
        self._pace.drop(gone)
        self._outbox.drop(gone)
        self._behind.forget(gone)

    def lost(self, code: int, reason: str) -> None:
        """Close it; with 1013 it is told where it goes on."""
        if self.line.is_open:
            self.flush()
            self._counts.closed[code] += 1
            self.line.end(code, f"{reason} seq={self.last_sent}" if code == 1013 else reason)

    def start_over(self, epoch: str, oldest: int, seq: int) -> None:
        """What it knows is of another log: whatever was on its way is not sent, and it goes on from here."""
        self.forget([*self.topics.values()])
        for topic in self.topics.values():
            topic.begin(seq)
        self._behind.jump(seq)
        self.say("resnapshot", reason="epoch", epoch=epoch, oldest=oldest, seq=seq)

    def end(self) -> None:
        """It is gone."""
        self._behind.end()
        self._pace.end()
        self._batch.end()
        self._counts.spared(self._outbox.conflated)
