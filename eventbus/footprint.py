"""Footprint: how much memory events hold, for a bus that bounds its bytes. Nobody else pays for it.

Knows nothing of who waits and who enters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from sys import getsizeof
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from eventbus.event import Event


def footprint(event: Event) -> int:
    """Bytes that an event holds in memory, its payload included. What it shares with others counts each time."""
    total, parts = getsizeof(event), list[Any]([vars(event)])
    while parts:
        value = parts.pop()
        total += getsizeof(value)
        if isinstance(value, Mapping):
            parts += value.keys()
            parts += value.values()
        elif isinstance(value, (list, tuple, AbstractSet)):
            parts += value
        elif isinstance(value, BaseModel):
            parts.append(vars(value))
    return total


class MemoryBudget:
    """What events that have places take of it. Settled ones leave in the order they came, which on the whole they do."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.total = 0  # bytes
        self._footprints: deque[int] = deque()
        self._last = 0

    def take(self, event: Event) -> None:
        """One more has a place."""
        self._last = footprint(event)
        self.total += self._last
        self._footprints.append(self._last)

    def give_back(self, events: int) -> None:
        """So many have none any longer."""
        for _ in range(events):
            self.total -= self._footprints.popleft()

    def is_full(self, promised: int) -> bool:
        """Is the limit reached, when so many are about to come that are as large as the last one?"""
        return self.total + promised * self._last >= self.limit
