"""Clock: where time comes from. Two readings that are never mixed up.

`now()` is the wall clock, a label on events; `monotonic_ns()` orders, measures and schedules. Tests inject another clock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol, runtime_checkable


@runtime_checkable
class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC. It may jump; nothing is ordered or scheduled by it."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The clocks of this machine."""

    monotonic_ns = staticmethod(time.monotonic_ns)

    @staticmethod
    def now() -> datetime:
        return datetime.now(UTC)
