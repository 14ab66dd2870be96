"""Outbox: what one client has yet to be sent, bounded. Full, it gives up values that newer ones replaced, and says which.

Knows neither the client nor the socket: frames in, frames out.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import NamedTuple, Protocol

from eventbus.gateway.wire import framed, message

MESSAGES = 256
MAX_BYTES = 1024 * 1024


class Listening(Protocol):
    """A subscription, as far as a gap names it."""

    @property
    def topic(self) -> str: ...

    @property
    def id(self) -> str | None: ...


class _Waiting(NamedTuple):
    frame: bytes
    seq: int
    key: Hashable | None
    subscriptions: Sequence[Listening]


class Outbox:
    """Frames in order. Those with a `key` are values: of the same key only the newest is kept when it is full."""

    def __init__(self, *, messages: int = MESSAGES, max_bytes: int = MAX_BYTES) -> None:
        self._messages = messages
        self._max_bytes = max_bytes
        self._waiting: dict[int, _Waiting] = {}  # oldest first, by a running number
        self._number = 0
        self._newest: dict[Hashable, int] = {}  # of each key the newest that waits
        self._gaps: dict[Listening, list[int]] = {}  # dropped, first, last
        self.bytes = 0
        self.conflated = 0  # values given up, for ever counted

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Is there no room? One message always has room, however large it is."""
        return len(self._waiting) >= self._messages or self.bytes >= self._max_bytes

    @property
    def is_bursting(self) -> bool:
        """Did even what has room always come to too much?"""
        return len(self._waiting) >= 4 * self._messages or self.bytes >= 4 * self._max_bytes

    def offer(
        self, frame: bytes, seq: int = 0, key: Hashable | None = None, subscriptions: Sequence[Listening] = ()
    ) -> bool:
        """Let it wait; False where there is no room, even after conflating."""
        if self.is_full:
            if key is None or not self._replaces(key):
                self._conflate()
            if self.is_full:
                return False
        self.force(frame, seq, key, subscriptions)
        return True

    def force(
        self, frame: bytes, seq: int = 0, key: Hashable | None = None, subscriptions: Sequence[Listening] = ()
    ) -> None:
        """Let it wait, room or not: an answer that was asked for."""
        self._number += 1
        self._waiting[self._number] = _Waiting(frame, seq, key, subscriptions)
        self.bytes += len(frame)
        if key is not None:
            self._newest[key] = self._number

    def take(self, max_bytes: int) -> tuple[list[bytes], int]:
        """The next frames, about so many bytes, and the highest number among them; gaps come before what follows them."""
        taken, size, seq = self.gaps(), 0, 0
        while self._waiting and size < max_bytes:
            waiting = self._remove(next(iter(self._waiting)))
            taken.append(waiting.frame)
            size += len(waiting.frame)
            seq = max(seq, waiting.seq)
        return taken, seq

    def drop(self, gone: Collection[Listening]) -> None:
        """Forget what waits for these subscriptions and no other."""
        for number, waiting in [*self._waiting.items()]:
            if waiting.subscriptions and all(one in gone for one in waiting.subscriptions):
                self._remove(number)
        for one in gone:
            self._gaps.pop(one, None)

    def skipped(self, seq: int, subscriptions: Sequence[Listening]) -> None:
        """A value is not sent, because a newer one of its key will be."""
        self.conflated += 1
        for one in subscriptions:
            gap = self._gaps.setdefault(one, [0, seq, seq])
            gap[0] += 1
            gap[1], gap[2] = min(gap[1], seq), max(gap[2], seq)

    def gaps(self) -> list[bytes]:
        """A frame for every subscription that had values skipped since the last time."""
        if not self._gaps:
            return []
        told = [
            framed(message("gap", {"id": one.id, "topic": one.topic, "dropped": dropped, "first": first, "last": last}))
            for one, (dropped, first, last) in self._gaps.items()
        ]
        self._gaps.clear()
        return told

    def _replaces(self, key: Hashable) -> bool:
        """Give up the value that waits under this key; False when there is none."""
        number = self._newest.get(key)
        if number is None:
            return False
        self._skip(number)
        return True

    def _conflate(self) -> None:
        """Give up every value of which a newer one waits."""
        for number, waiting in [*self._waiting.items()]:
            if waiting.key is not None and self._newest.get(waiting.key) != number:
                self._skip(number)

    def _skip(self, number: int) -> None:
        waiting = self._remove(number)
        self.skipped(waiting.seq, waiting.subscriptions)

    def _remove(self, number: int) -> _Waiting:
        waiting = self._waiting.pop(number)
        self.bytes -= len(waiting.frame)
        if waiting.key is not None and self._newest.get(waiting.key) == number:
            del self._newest[waiting.key]
        return waiting
