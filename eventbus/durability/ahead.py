"""Ahead: what a group reads next is fetched while its handlers are still busy with what it read before.

Of one group. Knows neither parts nor handlers; what was fetched in vain is dropped, and nobody has looked into it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from eventbus.durability.share import MOST

if TYPE_CHECKING:
    from eventbus.durability.event_cache import Found
    from eventbus.durability.source import Source
    from eventbus.journal.values import Record
    from eventbus.road.lifetime import Lifetime

PAGE = 3 * MOST
"""Places fetched at a time."""

_Page = Sequence["Found | Record"]


class Ahead:
    """One page beyond the one in hand, where there is that much."""

    def __init__(self, source: Source, lifetime: Lifetime) -> None:
        self._source = source
        self._lifetime = lifetime
        self._after = -1
        self._fetching: asyncio.Task[_Page] | None = None

    async def fetch(self, after: int) -> _Page:
        """What follows that place. Raises `OffsetGone`, and what the journal answers."""
        fetching, self._fetching = self._fetching, None
        if fetching is not None and self._after == after and fetching.get_loop() is asyncio.get_running_loop():
            page = await fetching
        else:
            _drop(fetching)
            page = await self._source.fetch(after, PAGE)
        if len(page) == PAGE:
            self._after = page[-1].offset
            self._fetching = self._lifetime.crew.start(self._source.fetch(self._after, PAGE))
        return page

    def end(self) -> None:
        """Nobody reads on."""
        fetching, self._fetching = self._fetching, None
        _drop(fetching)


def _drop(fetching: asyncio.Task[_Page] | None) -> None:
    if fetching is None:
        return
    fetching.add_done_callback(_look_at)  # what it raised is no news to anybody
    if not fetching.get_loop().is_closed():
        fetching.cancel()


def _look_at(fetching: asyncio.Task[_Page]) -> None:
    if not fetching.cancelled():
        fetching.exception()
