"""Folding: how a panel comes by what it shows: each event of a run, in order, taken in at once and never waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from eventbus import Event

Hearing: TypeAlias = dict[type[Event], Callable[[Any], None]]
"""What is called with each event of a class."""


class Folding:
    """Hands every event to those who hear its class. `take` is made for a tap on a bus, or for the pages of a journal."""

    def __init__(self, hearings: Iterable[Hearing]) -> None:
        self._hears: dict[type[Event], tuple[Callable[[Any], None], ...]] = {}
        self.taken: dict[str, int] = {}  # by type
        for hearing in hearings:
            for cls, call in hearing.items():
                self._hears[cls] = (*self._hears.get(cls, ()), call)

    def take(self, events: Sequence[Event], _offset: int | None = None) -> None:
        """The next events."""
        hears, taken = self._hears, self.taken
        for event in events:
            taken[event.type] = taken.get(event.type, 0) + 1
            for call in hears.get(type(event), ()):
                call(event)
