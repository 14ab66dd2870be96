"""Committing: what became of the deliveries of one group is written, whatever gathers while one commit runs with the next.

Knows its shares and where they are kept, and no handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from eventbus.durability.trouble import Patience
from eventbus.errors import JournalError, LeaseLost

if TYPE_CHECKING:
    from eventbus.durability.share import Share
    from eventbus.durability.source import Source
    from eventbus.durability.trouble import Trouble
    from eventbus.road.lifetime import Lifetime

_LINGER_S = 1.0  # what is passed over in a part where nothing else happens is committed so much later


class Committing:
    """Of one group. `lost` is called with a share that is another process's by now."""

    def __init__(
        self,
        group: str,
        shares: Mapping[int, Share],
        source: Source,
        lifetime: Lifetime,
        trouble: Trouble,
        lost: Callable[[Share], None],
    ) -> None:
        self._group = group
        self._shares = shares
        self._source = source
        self._lifetime = lifetime
        self._trouble = trouble
        self._lost = lost
        self._lingers = False  # something passed over is committed in a moment
        self._progress = asyncio.Event()
        self._parts = 1
        self.is_running = False

    def start(self) -> None:
        """The bus runs, perhaps in another loop."""
        self._progress, self.is_running, self._lingers = asyncio.Event(), False, False

    def of_parts(self, parts: int) -> None:
        """So many parts there are, here and elsewhere."""
        self._parts = parts

    @property
    def is_due(self) -> bool:
        """Is anything to be committed now? What one of many parts passes over can wait."""
        if self._parts == 1:
            return any(share.has_news for share in self._shares.values())
        return any(share.has_outcomes for share in self._shares.values())

    # --- who waits -------------------------------------------------------------------------------------------------

    def look_up(self) -> None:
        """Something changed that somebody may wait for."""
        self._progress.set()

    async def change(self) -> None:
        """Wait for the next."""
        self._progress.clear()
        await self._progress.wait()

    # --- commits ---------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Commit what is due, soon; and in a while what is passed over."""
        if self.is_running:
            return
        if self.is_due:
            self.all()
        elif not self._lingers and any(share.has_news for share in self._shares.values()):
            self._lingers = True
            self._lifetime.crew.call_later(_LINGER_S, self._lingered)

    def all(self) -> None:
        """Commit everything that is known, soon."""
        if not self.is_running and any(share.has_news for share in self._shares.values()):
            self.is_running = True
            self._lifetime.crew.start(self.run())

    def _lingered(self) -> None:
        self._lingers = False
        if self._lifetime.is_running:
            self.all()

    async def run(self) -> None:
        """Commit until nothing is due."""
        self.is_running, patience = True, Patience()
        try:
            while told := [share for share in self._shares.values() if share.has_news]:
                news = [share.take() for share in told]
                try:
                    answers = await self._source.commit(news)
                    patience.worked()
                except JournalError as error:
                    for share, untold in zip(told, news, strict=True):
                        share.put_back(untold)
                    self._trouble.tell("cursor not committed", error, group=self._group)
                    if not self._lifetime.is_running:
                        return  # these deliveries repeat
                    await patience.wait()
                    answers = []
                for share in told:
                    share.committed()
                for share, answer in zip(told, answers, strict=False):
                    if isinstance(answer, LeaseLost):
                        self._lost(share)
                self._progress.set()
                if not self.is_due:
                    break
        finally:
            self.is_running = False
            self._progress.set()
            self._lifetime.look_idle()
