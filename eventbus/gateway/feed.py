"""Feed: everything that was dispatched and is still to be had, by number: the ring, and behind it the journal if there is one.

Who reads asks for a stretch and does not care where it lies. Knows no client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from eventbus import Event, OffsetGone
from eventbus.gateway.ring import Ring
from eventbus.gateway.wire import body_of, event_message, framed, item_of

PAGE = 256


class Gone(Exception):
    """What was asked for is kept nowhere any more."""


class History(Protocol):
    """What is older than the ring: a journal."""

    @property
    def oldest(self) -> int:
        """The oldest number kept; one more than the newest when empty."""
        ...

    async def read(self, after: int, until: int, limit: int) -> list[tuple[int, Event | None]]:
        """Events with `after < number <= until`, oldest first; None for one that cannot be read. Raises `OffsetGone`."""
        ...


class Item:
    """One event on its way to clients: written once, whoever gets it."""

    __slots__ = ("_body", "_frame", "_ring", "event", "seq")

    def __init__(self, seq: int, event: Event, ring: Ring | None) -> None:
        self.seq = seq
        self.event = event
        self._ring = ring
        self._body: bytes | None = None
        self._frame: bytes | None = None

    @property
    def frame(self) -> bytes:
        """For those who gave their subscription no id."""
        found = self._frame
        if found is None:
            found = self._frame = framed(event_message(self.seq, (), self._written()))
        return found

    def frame_for(self, ids: Sequence[str]) -> bytes:
        """For those who did."""
        return framed(event_message(self.seq, ids, self._written())) if ids else self.frame

    def piece(self, ids: Sequence[str]) -> bytes:
        """As a part of a batch or a page."""
        return item_of(self.seq, ids, self._written())

    def _written(self) -> bytes:
        if self._body is None:
            self._body = body_of(self.event) if self._ring is None else self._ring.body(self.seq, self.event)
        return self._body


class Feed:
    """The one place to read events by their numbers. `dealt` is up to which number live clients have been given everything."""

    def __init__(self, ring: Ring, history: Callable[[], History | None]) -> None:
        self.ring = ring
        self.dealt = 0
        self._history = history

    @property
    def oldest(self) -> int:
        """The oldest number that can be read."""
        history = self._history()
        return self.ring.oldest if history is None else min(history.oldest, self.ring.oldest)

    def catch_up(self, number: int) -> None:
        """Live clients have been given everything up to this number."""
        self.dealt = number

    async def read(self, after: int, until: int) -> tuple[list[Item], int]:
        """Events after one number up to another, at most a page; and how far they go. Raises `Gone`."""
        ring = self.ring
        if after + 1 >= ring.oldest:
            limit = min(until - after, PAGE)
            numbered = zip(range(after + 1, after + 1 + limit), ring.after(after, limit), strict=True)
            return [Item(seq, event, ring) for seq, event in numbered if event is not None], after + limit
        history = self._history()
        if history is None:
            raise Gone
        try:
            page = await history.read(after, until, PAGE)
        except OffsetGone as error:
            raise Gone from error
        if not page:
            raise Gone
        return [Item(seq, event, ring) for seq, event in page if event is not None], page[-1][0]
