"""Pace: how many attempts of one subscription go together between two readings of the clock. Quick ones need fewer."""

from __future__ import annotations

_TOGETHER = 64  # at most
_QUICK_NS = 1_000_000  # what takes longer is not timed together


class Pace:
    """Of one subscription."""

    __slots__ = ("_typical_ns", "together")

    def __init__(self) -> None:
        self._typical_ns = 1_000  # how long an attempt took last
        self.together = 1

    def took(self, each_ns: int) -> None:
        """Attempts took so long each."""
        self._typical_ns = each_ns

    def went_well(self) -> None:
        """All of those that went together were over as expected: there may be more of them."""
        if self.together < _TOGETHER or self._typical_ns > _QUICK_NS // _TOGETHER:
            self.together = min(_TOGETHER, 2 * self.together, 1 + _QUICK_NS // (self._typical_ns + 1))

    def was_broken(self, after: int) -> None:
        """Something had to be looked at after so many of them."""
        self.together = after
