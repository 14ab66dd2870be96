"""Retries: deliveries of one subscription that wait for another attempt, and when they are due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventbus.clock import Clock
    from eventbus.road.crew import Crew
    from eventbus.road.part import Delivery


class Retries:
    """Of one subscription. Who adds one is called when it is due, and takes it out."""

    __slots__ = ("_clock", "_crew", "_waiting")

    def __init__(self, clock: Clock, crew: Crew) -> None:
        self._clock = clock
        self._crew = crew
        self._waiting: dict[Delivery, tuple[int, asyncio.TimerHandle | None]] = {}  # and when they are due

    def add(self, delivery: Delivery, seconds: float, due: Callable[[Delivery], None]) -> None:
        """Another attempt, so much later."""
        due_ns = self._clock.monotonic_ns() + int(seconds * 1e9)
        self._waiting[delivery] = due_ns, self._crew.call_later(seconds, due, delivery)

    def take(self, delivery: Delivery) -> bool:
        """It waits no longer. False: nor did it, for it was cancelled meanwhile."""
        return self._waiting.pop(delivery, None) is not None

    def drop(self, delivery: Delivery) -> bool:
        """It gets no other attempt. False: it does not wait for one."""
        _due_ns, timer = self._waiting.pop(delivery, (-1, None))
        if timer is not None:
            timer.cancel()
        return _due_ns >= 0

    def take_all(self) -> list[Delivery]:
        """None of them gets its other attempt."""
        waiting, self._waiting = self._waiting, {}
        for _due_ns, timer in waiting.values():
            if timer is not None:
                timer.cancel()
        return [*waiting]

    def move(self, due: Callable[[Delivery], None]) -> None:
        """The bus goes on in another loop: timers are set anew."""
        now_ns = self._clock.monotonic_ns()
        for delivery, (due_ns, _timer) in [*self._waiting.items()]:
            timer = self._crew.call_later(max(0.0, (due_ns - now_ns) / 1e9), due, delivery)
            self._waiting[delivery] = due_ns, timer

    def __contains__(self, delivery: Delivery) -> bool:
        return delivery in self._waiting

    def __iter__(self) -> Iterator[Delivery]:
        return iter(self._waiting)

    def __len__(self) -> int:
        return len(self._waiting)
