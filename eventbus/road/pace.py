"""Pace: how many attempts of one subscription go together between two readings of the clock. Quick ones need fewer."""

from __future__ import annotations

_TOGETHER = 64  # at most
QUICK_NS = 1_000_000  # what takes longer is not timed together


class Pace:
    """Of one subscription."""

    __slots__ = ("together",)

    def __init__(self) -> None:
        self.together = 1

    def went_well(self, each_ns: int) -> None:
        """All of those that went together were over as expected, and took so long each: there may be more of them."""
        if self.together < _TOGETHER or each_ns > QUICK_NS // _TOGETHER:
            self.together = min(_TOGETHER, 2 * self.together, 1 + QUICK_NS // (each_ns + 1))

    def was_broken(self, after: int) -> None:
        """Something had to be looked at after so many of them."""
        self.together = after
