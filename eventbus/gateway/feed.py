"""Feed: everything that was dispatched and is still to be had, by number: the ring, and behind it the journal if there is one.

Who reads asks for a stretch and does not care where it lies. Knows no client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from eventbus import Event, OffsetGone
from eventbus.gateway.wire import body_of, event_message, framed, item_of

if TYPE_CHECKING:
    from eventbus.gateway.ring import Ring

PAGE = 256

_ITEMS = 4_096
_ITEM_BYTES = 16 * 1024 * 1024


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
    """One event on its way to clients: written once, whoever gets it. `wrote` is told, with how many bytes that took."""

    __slots__ = ("_body", "_frame", "_wrote", "event", "seq", "size")

    def __init__(self, seq: int, event: Event, wrote: Callable[[Item, int], object]) -> None:
        self.seq = seq
        self.event = event
        self.size = 0
        self._wrote = wrote
        self._body: bytes | None = None
        self._frame: bytes | None = None

    @property
    def frame(self) -> bytes:
        """For those who gave their subscription no id."""
        found = self._frame
        if found is None:
            found = self._frame = framed(event_message(self.seq, (), self._written()))
            self._count(len(found))
        return found

    def frame_for(self, ids: Sequence[str]) -> bytes:
        """For those who did."""
        return framed(event_message(self.seq, ids, self._written())) if ids else self.frame

    def piece(self, ids: Sequence[str]) -> bytes:
        """As a part of a batch or a page."""
        return item_of(self.seq, ids, self._written())

    def _written(self) -> bytes:
        found = self._body
        if found is None:
            found = self._body = body_of(self.event)
            self._count(len(found))
        return found

    def _count(self, size: int) -> None:
        self.size += size
        self._wrote(self, size)


class Feed:
    """The one place to read events by their numbers. `dealt` is up to which number live clients have been given everything."""

    def __init__(self, ring: Ring, history: Callable[[], History | None]) -> None:
        self.ring = ring
        self.dealt = 0
        self._history = history
        self._items: dict[int, Item] = {}  # written lately, oldest first, for those who come a little later
        self._item_bytes = 0

    @property
    def oldest(self) -> int:
        """The oldest number that can be read."""
        history = self._history()
        return self.ring.oldest if history is None else min(history.oldest, self.ring.oldest)

    def catch_up(self, number: int) -> None:
        """Live clients have been given everything up to this number."""
        self.dealt = number

    def item(self, seq: int, event: Event) -> Item:
        """The event of that number on its way: the same for everybody who is given it at about the same time."""
        found = self._items.get(seq)
        if found is not None and found.event is event:
            return found
        self._forget(seq)
        found = self._items[seq] = Item(seq, event, self._wrote)
        if len(self._items) > _ITEMS:
            self._forget(next(iter(self._items)))
        return found

    def _wrote(self, item: Item, size: int) -> None:
        if self._items.get(item.seq) is item:
            self._item_bytes += size
        while self._item_bytes > _ITEM_BYTES and len(self._items) > 1:
            self._forget(next(iter(self._items)))

    def _forget(self, seq: int) -> None:
        item = self._items.pop(seq, None)
        self._item_bytes -= 0 if item is None else item.size

    async def read(self, after: int, until: int) -> tuple[list[Item], int]:
        """Events after one number up to another, at most a page; and how far they go. Raises `Gone`."""
        ring = self.ring
        if after + 1 >= ring.oldest:
            limit = min(until - after, PAGE)
            numbered = zip(range(after + 1, after + 1 + limit), ring.after(after, limit), strict=True)
            return [self.item(seq, event) for seq, event in numbered if event is not None], after + limit
        history = self._history()
        if history is None:
            raise Gone
        try:
            page = await history.read(after, until, PAGE)
        except OffsetGone as error:
            raise Gone from error
        if not page:
            raise Gone
        return [self.item(seq, event) for seq, event in page if event is not None], page[-1][0]
