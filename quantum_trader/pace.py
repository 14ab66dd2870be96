"""Pace: how many sessions a second are played, and whether any are. What is decided does not depend on it."""

from __future__ import annotations

import asyncio
import math


class Pace:
    """At most `speed` sessions per second; 0 is as fast as the handlers are. It may be changed while sessions are played, and
    whoever waits hears that at once. Raises `ValueError` for a speed below 0 or without end.
    """

    def __init__(self, speed: float = 0.0) -> None:
        self.speed = _checked(speed)
        self.is_paused = False
        self._changed = asyncio.Event()
        self._begun = -math.inf  # by the clock of the loop

    def pause(self) -> None:
        """Begin no further session until `resume`."""
        self.is_paused = True
        self._changed.set()

    def resume(self) -> None:
        """Go on, at once."""
        self.is_paused = False
        self._changed.set()

    def set_speed(self, speed: float) -> None:
        """At most so many sessions per second from now on. Raises `ValueError` as the constructor does."""
        self.speed = _checked(speed)
        self._changed.set()

    async def next(self) -> None:
        """Wait until the session after the one that begun last is due."""
        loop = asyncio.get_running_loop()
        while self.is_paused or (self.speed and loop.time() < self._begun + 1.0 / self.speed):
            self._changed.clear()
            try:
                async with asyncio.timeout_at(None if self.is_paused else self._begun + 1.0 / self.speed):
                    await self._changed.wait()
            except TimeoutError:
                break
        self._begun = loop.time()


def _checked(speed: float) -> float:
    if not 0 <= speed < math.inf:
        raise ValueError(f"speed: {speed} sessions per second; give 0 (no limit) or more")
    return speed
