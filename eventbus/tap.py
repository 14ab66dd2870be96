"""Tap: a look at everything that is dispatched, in whole bursts. It is no delivery and has no outcome.

Windows, tracers and recorders look through one. Knows no subscription.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eventbus.event import Event
from eventbus.failure import describe
from eventbus.log import log

_PATIENCE = 10  # failures in a row

Tapped = Callable[[Sequence[Event], int | None], object]
"""What is called: events in dispatch order, and the offset of the first (None in memory)."""


class Tap:
    """The handle on one look."""

    def __init__(self, callback: Tapped, taps: Taps) -> None:
        self._callback = callback
        self._taps = taps
        self._failed_in_a_row = 0
        self.errors = 0  # times that it raised

    @property
    def is_active(self) -> bool:
        """Does it still look?"""
        return self in self._taps

    def cancel(self) -> None:
        """Look no more."""
        self._taps.remove(self)

    def show(self, events: Sequence[Event], offset: int | None) -> None:
        """One burst. What it raises is counted and logged; after ten in a row it is removed."""
        try:
            self._callback(events, offset)
        except BaseException as error:  # noqa: BLE001 - it is the user's, and no event may suffer from it
            self.errors += 1
            self._failed_in_a_row += 1
            is_over = self._failed_in_a_row >= _PATIENCE
            if is_over:
                self.cancel()
            if is_over or self._failed_in_a_row == 1:
                told = describe(error)
                log.error("tap removed: %s" if is_over else "tap failed: %s", told, extra={"error": told})
        else:
            self._failed_in_a_row = 0


class Taps:
    """The looks at one bus."""

    def __init__(self) -> None:
        self._taps: tuple[Tap, ...] = ()
        self.are_there = False

    def add(self, callback: Tapped) -> Tap:
        """Look from now on."""
        tap = Tap(callback, self)
        self._taps, self.are_there = (*self._taps, tap), True
        return tap

    def remove(self, tap: Tap) -> None:
        """Look no more."""
        self._taps = tuple(other for other in self._taps if other is not tap)
        self.are_there = bool(self._taps)

    def show(self, events: Sequence[Event], offset: int | None) -> None:
        """A burst is dispatched."""
        shown = tuple(events)  # what they do with it is nobody else's
        for tap in self._taps:
            tap.show(shown, offset)

    def __len__(self) -> int:
        return len(self._taps)

    def __contains__(self, tap: Tap) -> bool:
        return tap in self._taps
