"""Recorder: a handler that remembers what it got, in order, and lets a test wait for it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from eventbus.event import Event

E = TypeVar("E", bound=Event)


class Recorder:
    """Subscribe it like any handler: `bus.subscribe("trade.*", recorder)`. A retried event is there once per attempt.

    `does` is called with each event after it was noted; what it raises or returns is the outcome, so a recorder can play a
    handler that fails, sleeps or answers. An awaitable is awaited.
    """

    def __init__(self, does: Callable[[Any], Any] | None = None) -> None:
        self.events: list[Event] = []
        self._does = does
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    async def __call__(self, event: Event) -> Any:
        self.events.append(event)
        for wanted, waiter in self._waiting:
            if len(self.events) >= wanted and not waiter.done():
                waiter.set_result(None)
        result = None if self._does is None else self._does(event)
        return await result if inspect.isawaitable(result) else result

    @property
    def types(self) -> list[str]:
        """The wire names, in order."""
        return [event.type for event in self.events]

    @property
    def payloads(self) -> list[dict[str, Any]]:
        """The payloads as plain dicts, in order."""
        return [event.payload for event in self.events]

    def of(self, cls: type[E]) -> list[E]:
        """The events of a class and its subclasses, in order."""
        return [event for event in self.events if isinstance(event, cls)]

    def values(self, name: str) -> list[Any]:
        """One value of each payload, in order; None where it has no such name."""
        return [event.get(name) for event in self.events]

    async def wait(self, count: int, *, timeout: float = 5.0) -> list[Event]:
        """Wait until `count` events came in all; returns them. Raises `TimeoutError`."""
        if len(self.events) < count:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append((count, waiter))
            try:
                async with asyncio.timeout(timeout):
                    await waiter
            finally:
                self._waiting.remove((count, waiter))
        return self.events[:count]

    def clear(self) -> None:
        """Forget what came so far."""
        self.events.clear()

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[Event]:
        return iter(list(self.events))
