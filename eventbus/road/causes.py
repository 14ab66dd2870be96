"""Causes: what an event is told of where it comes from: its cause, its id where that is derived, the hops from the root.

The cause is the event that is being handled, or the one that the publisher names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus.errors import HopLimit
from eventbus.event import Event, stamp, tell_hops

if TYPE_CHECKING:
    from eventbus.causality import History, Identify
    from eventbus.road.context import Mark

HOP_LIMIT = 32


class Causes:
    """Of one bus."""

    def __init__(self, history: History, identify: Identify | None) -> None:
        self._history = history
        self._identify = identify
        self._tells_hops = False

    def tells_hops(self, does: bool) -> None:
        """From the beginning on. Where other processes handle these events too, each is told how far it is from the root."""
        self._tells_hops = does

    def hops(self, event: Event, mark: Mark | None, cause: Event | None) -> int:
        """Causes between the root and this event. Raises `HopLimit`."""
        hops = 0 if mark is None else mark[0].hops + 1
        if cause is not None:
            if not isinstance(cause, Event):
                raise TypeError(f"cause takes the event that led to this one, not {type(cause).__name__}")
            hops = max(hops, self._history.hops_of(cause) + 1)
        if hops > HOP_LIMIT:
            raise HopLimit(event.type, HOP_LIMIT)
        if cause is not None:
            self._history.note_hops(event, hops)
        return hops

    def stamp(self, event: Event, mark: Mark | None, cause: Event | None, hops: int) -> None:
        """Fill in what an event still lacks of its cause: the one named, or that whose handler publishes it."""
        if self._tells_hops:
            tell_hops(event, hops)
        if mark is None:
            if cause is not None:
                stamp(event, cause=cause)
            return
        event_id, origin = None, cause or mark[2]
        if self._identify is not None and "event_id" not in event.model_fields_set and event is not origin:
            event_id = self._identify(event, origin, mark[0].worker.name)
        stamp(event, cause=origin, event_id=event_id)
