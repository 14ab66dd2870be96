"""The reader of a journal on a server: each question waits for its answer, on a loop of its own in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Self, TypeVar

from eventbus.errors import WrongProcess

if TYPE_CHECKING:
    from eventbus.journal.remote.journal import RemoteJournal
    from eventbus.journal.values import Cursor, DeadLetterRecord, Quarantined, Record, SettledDelivery, Verified

_T = TypeVar("_T")


class RemoteReader:
    """A `JournalReader` over a journal that is made by `make`, and that makes nothing itself. See `JournalReader` for each method.

    Raises `JournalUnavailable` if there is no such journal, and `WrongProcess` in a fork, where its thread does not run.
    """

    def __init__(self, make: Callable[[], RemoteJournal]) -> None:
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="journal reader", daemon=True)
        self._thread.start()
        try:
            self._journal = make()
            self._ask(self._journal.open)
        except BaseException:
            self._end()
            raise

    def first(self) -> int:
        self._ask(self._journal.look)
        return self._journal.first

    def last(self) -> int:
        self._ask(self._journal.look)
        return self._journal.last

    def read(
        self, after: int, limit: int, types: Sequence[str] | None = None, until: int | None = None
    ) -> list[Record]:
        return self._ask(lambda: self._journal.read(after, limit, types=types, until=until))

    def find(self, event_id: str) -> Record | None:
        return self._ask(lambda: self._journal.find(event_id))

    def related(self, correlation_id: str, limit: int) -> list[Record]:
        return self._ask(lambda: self._journal.related(correlation_id, limit))

    def seek(self, time_ns: int) -> int:
        return self._ask(lambda: self._journal.seek(time_ns))

    def cursors(self) -> list[Cursor]:
        return self._ask(self._journal.cursors)

    def outcomes(self, offsets: Sequence[int]) -> list[SettledDelivery]:
        return self._ask(lambda: self._journal.outcomes(offsets))

    def dead_letters(self, after: int, limit: int, subscription: str | None, redriven: bool) -> list[DeadLetterRecord]:
        return self._ask(lambda: self._journal.dead_letters(after, limit, subscription=subscription, redriven=redriven))

    def count_dead_letters(self, subscription: str | None, redriven: bool) -> int:
        return self._ask(lambda: self._journal.count_dead_letters(subscription=subscription, redriven=redriven))

    def quarantined(self, after: int, limit: int) -> list[Quarantined]:
        return self._ask(lambda: self._journal.quarantined(after, limit))

    def count_quarantined(self) -> int:
        return self._ask(self._journal.count_quarantined)

    def values(self, space: str) -> dict[str, bytes]:
        return self._ask(lambda: self._journal.values(space))

    def file_bytes(self) -> int:
        self._ask(self._journal.look)
        return self._journal.stats().file_bytes

    def log_bytes(self) -> int:
        return 0

    def verify(self) -> Verified:
        return self._ask(self._journal.verify)

    def close(self) -> None:
        if self._loop is not None and os.getpid() == self._pid:  # in a fork it is not this one's to close
            self._ask(self._journal.close)
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _ask(self, question: Callable[[], Awaitable[_T]]) -> _T:
        if os.getpid() != self._pid:
            raise WrongProcess("a question to a reader", self._pid, "reader")
        assert self._loop is not None, "it is closed"

        async def answer() -> _T:
            return await question()

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result()

    def _end(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()
