"""Arrivals: the log as far as this process knows it: which one, where it ends, who waits for more. Notices when there is less of it.

Knows not who tells it.
"""

from __future__ import annotations

import asyncio

from eventbus.errors import BackendDataLoss


class Arrivals:
    """Epoch, `first` and `last` of a log. Calls overtake each other, so `heard` never goes back; `stands` notices if the log did."""

    def __init__(self) -> None:
        self.epoch = ""
        self.first = 1
        self.last = 0
        self.bytes = 0
        self._loss: tuple[str, str] | None = None
        self._waiters: dict[asyncio.Future[bool], int] = {}
        self._is_over = False

    def begin(self) -> None:
        """The journal opens, or what was lost is accepted: the log is whatever is said next."""
        self.epoch, self.first, self.last, self._loss, self._is_over = "", 1, 0, None, False

    def stands(self, asked_at: int, epoch: str, first: int, last: int, size: int) -> None:
        """The server says this to who asked when `last` was `asked_at`. Raises `BackendDataLoss` if there was more, or it is another."""
        if not self.epoch:
            self.epoch = epoch
        if epoch != self.epoch:
            self.lost(f"log {self.epoch}", f"log {epoch or 'of nobody'}")
        if last < min(asked_at, self.last):
            self.lost(f"offset {self.last}", f"offset {last}")
        self.check()
        self.bytes = size
        self.heard(last, first)

    def lost(self, expected: str, found: str) -> None:
        """There was more. Whoever waits shall look, and be told."""
        self._loss = self._loss or (expected, found)
        for waiter in self._waiters:
            _answer(waiter, True)

    def check(self) -> None:
        """Raise `BackendDataLoss` where something was lost and nobody has accepted that."""
        if self._loss is not None:
            raise BackendDataLoss(*self._loss)

    def heard(self, last: int, first: int = 0) -> None:
        """The log goes at least to `last`, and begins at `first` or later."""
        self.first = max(self.first, first)
        if last <= self.last:
            return
        self.last = last
        for waiter, after in self._waiters.items():
            if last > after:
                _answer(waiter, True)

    async def beyond(self, after: int, timeout: float | None) -> bool:
        """See `Journal.wait`."""
        if self.last > after:
            return True
        if self._is_over:
            return False
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiters[waiter] = after
        timer = None if timeout is None else loop.call_later(timeout, _answer, waiter, False)
        try:
            return await waiter
        finally:
            del self._waiters[waiter]
            if timer is not None:
                timer.cancel()

    def over(self) -> None:
        """Nothing more will be heard."""
        self._is_over = True
        for waiter in self._waiters:
            _answer(waiter, False)


def _answer(waiter: asyncio.Future[bool], there_is_more: bool) -> None:
    if not waiter.done():
        waiter.set_result(there_is_more)
