"""Receipt: proof of acceptance, and the way to learn how it ended. The arrow that points back to the publisher.

A `Flight` follows one event through its deliveries; it exists only where somebody can ask: a receipt that was thrown away
costs nothing. Knows no mailbox and no worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol

from eventbus.event import Event
from eventbus.outcome import Outcome


class Flight:
    """One event on its way: how many deliveries are open, what the closed ones came to, who waits."""

    __slots__ = (
        "_error",
        "_landed",
        "_waiters",
        "event",
        "holding",
        "is_counted",
        "is_routed",
        "is_watched",
        "open",
        "outcomes",
    )

    def __init__(self, event: Event) -> None:
        self.event = event
        self.is_watched = False  # somebody may ask for the outcomes
        self.is_routed = False  # every delivery it will have has been opened
        self.is_counted = False  # the door holds its place until the last lossless delivery ends
        self.open = 0  # deliveries without an outcome
        self.holding = 0  # of these, the lossless ones: they keep the event's place at the door
        self.outcomes: list[Outcome] = []
        self._landed = False
        self._error: BaseException | None = None
        self._waiters: list[Callable[[], None]] = []

    def landed(self) -> None:
        """The last delivery has its outcome."""
        self._landed = True
        waiters, self._waiters = self._waiters, []
        for wake in waiters:
            wake()

    def fail(self, error: BaseException) -> None:
        """It was never accepted after all: whoever waits is told why."""
        self._error = error
        self.landed()

    def when_landed(self, call: Callable[[], None]) -> None:
        """Call this once every delivery has its outcome; at once if that is so."""
        if self._landed:
            call()
        else:
            self._waiters.append(call)

    async def settled(self) -> tuple[Outcome, ...]:
        """Wait for the last outcome."""
        if not self._landed:
            future = asyncio.get_running_loop().create_future()
            self._waiters.append(lambda: None if future.done() else future.set_result(None))
            await future
        if self._error is not None:
            raise self._error
        return tuple(self.outcomes)


class Commit:
    """The end of a burst's way into the journal, and those who wait for it."""

    __slots__ = ("_error", "_is_done", "_waiters")

    def __init__(self) -> None:
        self._is_done = False
        self._error: BaseException | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def wait(self) -> Awaitable[None]:
        """Done when the burst is durable. Raises why it never will be."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._is_done:
            _tell(waiter, self._error)
        else:
            self._waiters.append(waiter)
        return waiter

    def resolve(self, error: BaseException | None) -> None:
        """It is durable, or never will be. What was said first stands."""
        if not self._is_done:
            self._is_done, self._error = True, error
            for waiter in self._waiters:
                _tell(waiter, error)
            self._waiters.clear()


def _tell(waiter: asyncio.Future[None], error: BaseException | None) -> None:
    if waiter.done():  # cancelled: the event goes its way all the same
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error)


class Following(Protocol):
    """What a receipt points into: the burst of events that were accepted together."""

    events: list[Event]
    offset: int | None
    durability: str
    committed: Commit | None

    def flight(self, index: int) -> Flight: ...


class Receipt:
    """The event was accepted. `await receipt` waits until it is settled and gives one `Outcome` per subscription."""

    __slots__ = ("burst", "index")

    # No __init__: publish fills both in, a call saved on the hottest line of the package.
    burst: Following
    index: int

    @property
    def event(self) -> Event:
        return self.burst.events[self.index]

    @property
    def event_id(self) -> str:
        return self.event.event_id

    @property
    def offset(self) -> int | None:
        """Its place in the journal; None in memory."""
        first = self.burst.offset
        return None if first is None else first + self.index

    @property
    def durability(self) -> str:
        """The level really reached: memory, process_crash, power_loss or broker_defined."""
        return self.burst.durability

    def __await__(self) -> Generator[Any, None, tuple[Outcome, ...]]:
        return self.burst.flight(self.index).settled().__await__()

    def __repr__(self) -> str:
        return f"Receipt(event_id={self.event_id!r}, offset={self.offset}, durability={self.durability!r})"
