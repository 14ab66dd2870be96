"""Deadlines: one alarm for all attempts of a subscription, for they all may last as long.

An attempt is watched from where it first waits; its time counts from where it began. One that ignores its cancellation for the
grace is abandoned. Knows no queue and no outcome.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from eventbus.road.context import Cell


class Attempt(Protocol):
    """Who runs it."""

    def overdue(self, cell: Cell) -> None:
        """Its time is up: cancel it."""
        ...

    def abandon(self, cell: Cell) -> None:
        """It does not end: go on without it."""
        ...


class Deadlines:
    """Attempts that wait, in the order in which their time will be up."""

    def __init__(self, seconds: float, grace: float, clock_ns: Callable[[], int]) -> None:
        self._limit_ns = int(seconds * 1e9)
        self._grace_ns = int(grace * 1e9)
        self._clock_ns = clock_ns
        self._running: deque[tuple[int, Cell, int, Attempt]] = deque()
        self._cancelled: deque[tuple[int, Cell, int, Attempt]] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    def watch(self, cell: Cell, attempt: Attempt) -> None:
        """The attempt inside of that cell waits."""
        entry = (cell.started_ns + self._limit_ns, cell, cell.at, attempt)
        running = self._running
        if running and running[-1][0] > entry[0]:  # one that began earlier and waits later
            self._running = deque(sorted([*running, entry], key=lambda one: one[0]))
        else:
            running.append(entry)
        if self._alarm is None or self._running[0] is entry:
            self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        due = [entries[0][0] for entries in (self._running, self._cancelled) if entries]
        if due:
            seconds = max(0, min(due) - self._clock_ns()) / 1e9
            self._alarm = asyncio.get_running_loop().call_later(seconds, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        now = self._clock_ns()
        while self._running and (self._running[0][0] <= now or self._is_over(self._running[0])):
            _due, cell, at, attempt = entry = self._running.popleft()
            if not self._is_over(entry):
                attempt.overdue(cell)
                self._cancelled.append((now + self._grace_ns, cell, at, attempt))
        while self._cancelled and (self._cancelled[0][0] <= now or self._is_over(self._cancelled[0])):
            _due, cell, _at, attempt = entry = self._cancelled.popleft()
            if not self._is_over(entry):
                attempt.abandon(cell)
        self._set_alarm()

    @staticmethod
    def _is_over(entry: tuple[int, Cell, int, Attempt]) -> bool:
        return entry[1].at != entry[2]
