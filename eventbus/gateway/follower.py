"""Follower: what feeds the ring from a journal that another process writes. It reads, and never gets in the way of the writer.

Everything that touches the journal is done in one thread of its own. Any number of followers may run beside one writer.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from eventbus import Event, EventBusError, Explanation, JournalReader, WrongProcess, open_reader
from eventbus.gateway.feed import Feed, History
from eventbus.gateway.source import SPACE, explained, read_event

EVERY_S = 0.1
"""How often it looks for what is new."""

NEWEST = 200
"""Dead letters that are shown."""

_PAGE = 1_000

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Followed:
    """A journal that another process writes, by its URL or the name of its file. `heard` is called with all its events, the old
    ones before anybody is let in, as by a tap; `replaced` when another journal lies in its place, before anything of that is heard.
    """

    source: str
    heard: Callable[[Sequence[Event], int | None], object] | None = None
    replaced: Callable[[], object] = lambda: None


class Follower(History):
    """From a journal into the ring. `arrived` is called when events were put there, `replaced` when another one took its place."""

    def __init__(
        self, followed: Followed, feed: Feed, arrived: Callable[[], object], replaced: Callable[[], object]
    ) -> None:
        self._source = followed.source
        self._heard, self._tell_replaced = followed.heard, followed.replaced
        self._feed = feed
        self._arrived = arrived
        self._replaced = replaced
        self._thread = ThreadPoolExecutor(1, "follower")
        self._reader: JournalReader | None = None  # the thread's own, as is all that it tells
        self._place: tuple[int, int] | None = None  # which file it is
        self._oldest = 1
        self._bytes = 0
        self._following: asyncio.Task[None] | None = None
        self._is_lost = False
        self._pid = os.getpid()  # whose thread it is, from the start on

    @property
    def oldest(self) -> int:
        return self._oldest

    async def start(self) -> None:
        """Follow from now on, after everything old was heard. Raises what the journal answers."""
        self._pid = os.getpid()
        await self._begin()
        self._following = asyncio.get_running_loop().create_task(self._follow())

    def stop(self) -> None:
        """Follow no more."""
        if self._following is not None:
            self._following.cancel()
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    def beat(self) -> None:
        """It looks by itself."""

    async def read(self, after: int, until: int, limit: int) -> list[tuple[int, Event | None]]:
        return await self._asked(lambda reader: _page(reader, after, limit, until))

    async def _begin(self) -> None:
        epoch, last = await self._in_thread(self._open)
        after = self._oldest - 1
        while self._heard is not None and after < last:
            page = await self.read(after, last, _PAGE)
            self._hear(page)
            after = page[-1][0] if page else last
        self._feed.ring.begin(epoch, last)
        self._feed.catch_up(last)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self._look()
            except EventBusError as error:
                if not self._is_lost:
                    _log.warning("journal cannot be followed now: %s", error, extra={"error": str(error)})
                self._is_lost = True
            else:
                self._is_lost = False

    async def _look(self) -> None:
        ring = self._feed.ring
        found = await self._in_thread(self._what_is_new)
        if found is None:
            self._tell_replaced()
            await self._begin()
            self._replaced()
            return
        last, self._oldest = found
        while ring.head < last:
            page = await self.read(ring.head, last, _PAGE)
            if not page:
                return
            ring.put([event for _, event in page])
            self._hear(page)
            self._arrived()

    def _hear(self, page: Sequence[tuple[int, Event | None]]) -> None:
        if self._heard is not None and page:
            self._heard([event for _, event in page if event is not None], page[0][0])

    async def find(self, event_id: str) -> tuple[int, Event | None] | None:
        """The event of that id and its number."""
        record = await self._asked(lambda reader: reader.find(event_id))
        return None if record is None else (record.offset, read_event(record.body))

    async def explain(self, event_id: str) -> Explanation:
        """The causal tree of an event, as the journal has it. Raises `LookupError`."""
        return await self._asked(lambda reader: explained(reader, event_id))

    async def seek(self, time_ns: int) -> int:
        """The number to read after, so that the first event comes of that time or later."""
        return await self._asked(lambda reader: reader.seek(time_ns))

    # --- in the thread -----------------------------------------------------------------------------------------------------

    async def _in_thread(self, act: Callable[[], _T]) -> _T:
        if os.getpid() != self._pid:
            raise WrongProcess("a question to a follower", self._pid, "gateway")
        return await asyncio.get_running_loop().run_in_executor(self._thread, act)

    async def _asked(self, ask: Callable[[JournalReader], _T]) -> _T:
        def act() -> _T:
            assert self._reader is not None
            return ask(self._reader)

        return await self._in_thread(act)

    def _open(self) -> tuple[str, int]:
        """Its epoch and its newest offset."""
        self._close()
        self._place = _place(self._source)
        reader = self._reader = open_reader(self._source)
        self._oldest = reader.first()
        return _epoch(reader, self._source, self._place), reader.last()

    def _what_is_new(self) -> tuple[int, int] | None:
        """The newest and the oldest offset; None where this is another journal."""
        reader = self._reader
        if reader is None or _place(self._source) != self._place:
            return None
        last = reader.last()
        self._bytes = reader.file_bytes()
        return None if last < self._feed.ring.head else (last, reader.first())

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    # --- what is shown -----------------------------------------------------------------------------------------------------

    def numbers(self) -> dict[str, Any]:
        """What can be told of the bus of another process, as the view of that name."""
        head = self._feed.ring.head
        return {
            "published": head,
            "dispatched": head,
            "queue_size": 0,
            "p50_ms": 0.0,
            "p99_ms": 0.0,
            "pending": 0,
            "errors": 0,
            "loop_blocks": 0,
            "journal": {"lag": 0, "bytes": self._bytes, "failure": "cannot be read now" if self._is_lost else None},
        }

    async def count_letters(self) -> int:
        """How many dead letters are kept."""
        return await self._asked(lambda reader: reader.count_dead_letters(None, False))

    async def letters(self) -> dict[str, Any]:
        """The newest dead letters, as a view."""
        return await self._asked(_letters)


def _page(reader: JournalReader, after: int, limit: int, until: int) -> list[tuple[int, Event | None]]:
    return [(record.offset, read_event(record.body)) for record in reader.read(after, limit, None, until)]


def _letters(reader: JournalReader) -> dict[str, Any]:
    total, after, newest = reader.count_dead_letters(None, False), 0, list[dict[str, Any]]()
    while page := reader.dead_letters(after, _PAGE, None, False):
        after = page[-1].id
        newest += [
            {
                "id": one.id,
                "event_id": one.event_id,
                "type": one.type,
                "subscription": one.subscription,
                "reason": one.reason,
                "error": one.error[:500],
                "attempts": one.attempts,
            }
            for one in page
        ]
        del newest[:-NEWEST]
    return {"rows": newest[::-1], "total": total}


def _epoch(reader: JournalReader, source: str, place: tuple[int, int] | None) -> str:
    """What its own gateway calls it; before there was one, something that no other journal is called."""
    known = reader.values(SPACE).get("epoch")
    if known is not None:
        return known.decode()
    first = reader.read(reader.first() - 1, 1)
    told = f"{source} {place} {first[0].event_id if first else ''}"
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def _place(source: str) -> tuple[int, int] | None:
    """Which file lies there; None where that cannot be told."""
    scheme, found, rest = source.partition("://")
    if found and scheme != "sqlite":
        return None
    try:
        status = Path(rest.removeprefix("/").partition("?")[0] if found else source).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
