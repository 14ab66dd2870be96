"""Pace: what a client asked to be sent less often: values at most so many a second, events in batches of so many milliseconds.

Each has one timer of the loop while something waits, and none otherwise. Knows no socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Hashable, Sequence

from eventbus.gateway.feed import Item
from eventbus.gateway.listening import Chart, Pacing, Topic, ids_of
from eventbus.gateway.wire import batch_message, framed

_Waiting = tuple[Item, Sequence[Topic]]
_MOST = 500  # events in one batch


class Batch:
    """Events that wait to be sent together. `send` gets the frame and what is in it, and answers False where there is no room."""

    def __init__(self, send: Callable[[bytes, int, Sequence[Topic]], bool]) -> None:
        self._send = send
        self._waiting: list[_Waiting] = []
        self._timer: asyncio.TimerHandle | None = None

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def oldest(self) -> int | None:
        """The lowest number that waits."""
        return self._waiting[0][0].seq if self._waiting else None

    def add(self, item: Item, topics: Sequence[Topic]) -> bool:
        """One more; the first opens the window. False where a full batch found no room."""
        if len(self._waiting) >= _MOST and not self.flush():
            return False
        self._waiting.append((item, topics))
        if self._timer is None:
            window = min(one.batch_ms or 0 for one in topics) / 1_000
            self._timer = asyncio.get_running_loop().call_later(window, self._due, window)
        return True

    def flush(self) -> bool:
        """Send what there is; False where there is no room, and then it waits on."""
        if not self._waiting:
            return True
        frame = framed(batch_message(item.piece(ids_of(topics)) for item, topics in self._waiting))
        if not self._send(frame, self._waiting[-1][0].seq, [one for _, topics in self._waiting for one in topics]):
            return False
        self.end()
        return True

    def _due(self, window: float) -> None:
        self._timer = None
        if not self.flush():
            self._timer = asyncio.get_running_loop().call_later(window, self._due, window)

    def drop(self, gone: Collection[Topic | Chart]) -> None:
        """Forget what waits for these and no other."""
        self._waiting = [(item, topics) for item, topics in self._waiting if any(one not in gone for one in topics)]

    def end(self) -> None:
        """Nothing waits."""
        self._waiting = []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Pace:
    """Values of which only the newest of each key waits for its turn. `send` answers False where it has to come again."""

    def __init__(self, send: Callable[[Item, Sequence[Topic]], bool]) -> None:
        self._send = send
        self._waiting: dict[Pacing, dict[Hashable, _Waiting]] = {}
        self._timers: dict[Pacing, asyncio.TimerHandle] = {}

    @property
    def oldest(self) -> int | None:
        """The lowest number that waits."""
        return min((item.seq for waiting in self._waiting.values() for item, _ in waiting.values()), default=None)

    def add(
        self,
        item: Item,
        topics: Sequence[Topic],
        key: Hashable,
        skipped: Callable[[int, Sequence[Topic]], None],
    ) -> None:
        """A value: sent at once where none was sent lately, otherwise when it is its turn. `skipped` is told of what it replaces."""
        pacing = max((one.pacing for one in topics if one.pacing is not None), key=lambda one: one.max_rate)
        waiting = self._waiting.setdefault(pacing, {})
        if key in waiting:
            older, older_topics = waiting[key]
            skipped(older.seq, older_topics)
        waiting[key] = item, topics
        if pacing not in self._timers:
            self._turn(pacing)

    def _turn(self, pacing: Pacing) -> None:
        """The next one; who was sent one waits until the next may be."""
        waiting = self._waiting.get(pacing)
        if not waiting:
            self._waiting.pop(pacing, None)
            self._timers.pop(pacing, None)
            return
        key = next(iter(waiting))
        item, topics = waiting[key]
        if self._send(item, topics):
            del waiting[key]
        self._timers[pacing] = asyncio.get_running_loop().call_later(1 / pacing.max_rate, self._turn, pacing)

    def drop(self, gone: Collection[Topic | Chart]) -> None:
        """Forget what waits for these and no other."""
        for waiting in self._waiting.values():
            for key, (_, topics) in [*waiting.items()]:
                if all(one in gone for one in topics):
                    del waiting[key]

    def end(self) -> None:
        """Nothing is sent any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._waiting.clear()
