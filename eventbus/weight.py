"""Weight: how much memory events hold, for a bus that bounds its bytes. Nobody else pays for it.

Knows nothing of who waits and who enters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from sys import getsizeof
from typing import Any

from pydantic import BaseModel

from eventbus.event import Event


def weight(event: Event) -> int:
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


class Scale:
    """What the events together weigh that are held. Settled ones leave it in the order they came, which on the whole they do."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.total = 0  # bytes
        self._weights: deque[int] = deque()
        self._last = 0

    def put_on(self, event: Event) -> None:
        """One more is held."""
        self._last = weight(event)
        self.total += self._last
        self._weights.append(self._last)

    def take_off(self, events: int) -> None:
        """So many are held no longer."""
        for _ in range(events):
            self.total -= self._weights.popleft()

    def is_full(self, promised: int) -> bool:
        """Is the limit reached, when so many are about to come that weigh as much as the last one?"""
        return self.total + promised * self._last >= self.limit
