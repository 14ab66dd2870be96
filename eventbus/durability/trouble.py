"""Trouble: a journal that fails is told once, and then once a minute with a count, however many wait for it and how often they try."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from eventbus.log import log

if TYPE_CHECKING:
    from eventbus.road.lifetime import Lifetime

_MINUTE_S = 60.0
_FIRST_S, _LONGEST_S = 0.25, 2.0  # a server that is back is used again soon


class Trouble:
    """Of one journal."""

    def __init__(self, lifetime: Lifetime) -> None:
        self._lifetime = lifetime
        self._is_told = False  # within the running minute
        self._more = 0
        self._last = ""  # what was counted last
        self._timer: asyncio.TimerHandle | None = None

    def tell(self, what: str, error: Exception, **about: object) -> None:
        """Something waits for the journal, or has failed by it."""
        if self._is_told:
            self._more, self._last = self._more + 1, f"{what}: {error}"
            return
        self._is_told = True
        log.error("%s: %s", what, error, extra={"error": str(error), **about})
        self._begin_minute()

    def _begin_minute(self) -> None:
        self._timer = self._lifetime.crew.call_later(_MINUTE_S, self._minute_passed)

    def _minute_passed(self) -> None:
        if self._more:  # it goes on: the count is this minute's line, and what comes next is counted too
            self._say_how_many()
            self._begin_minute()
        else:
            self._timer, self._is_told = None, False

    def end_minute(self) -> None:
        """Say how much more there was, and begin anew."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._is_told = False
        if self._more:
            self._say_how_many()

    def _say_how_many(self) -> None:
        more, self._more = self._more, 0
        log.error(
            "the journal failed %d more times within a minute, at last: %s",
            more,
            self._last,
            extra={"more": more, "error": self._last},
        )


class Patience:
    """How long somebody waits before the next try: longer each time, from the beginning after a success."""

    def __init__(self) -> None:
        self._failures = 0

    async def wait(self) -> None:
        """It failed again."""
        seconds = min(_LONGEST_S, _FIRST_S * 2 ** min(self._failures, 10))
        self._failures += 1
        await asyncio.sleep(seconds)

    def worked(self) -> None:
        """It did not."""
        self._failures = 0
