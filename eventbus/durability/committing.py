"""Committing: what became of the deliveries of one group is written, whatever gathers while one commit runs with the next.

Knows its shares and where they are kept, and no handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from eventbus.durability.trouble import Patience
from eventbus.errors import JournalError, LeaseLost

if TYPE_CHECKING:
    from eventbus.durability.share import News, Share
    from eventbus.durability.source import Source
    from eventbus.durability.trouble import Trouble
    from eventbus.road.lifetime import Lifetime

_GATHER_S = 0.01  # what ended is committed so much later, with what ends meanwhile
_LINGER_S = 1.0  # what is passed over in a part where nothing else happens is committed so much later


class Committing:
    """Of one group. `lost` is called with a share that is another process's by now, `is_over` says that nobody waits any more."""

    def __init__(
        self,
        group: str,
        shares: Mapping[int, Share],
        source: Source,
        lifetime: Lifetime,
        trouble: Trouble,
        lost: Callable[[Share], None],
        is_over: Callable[[], bool],
    ) -> None:
        self._group = group
        self._shares = shares
        self._source = source
        self._lifetime = lifetime
        self._trouble = trouble
        self._lost = lost
        self._is_over = is_over
        self._more_begins = False  # soon
        self._gathers = False  # something due is committed in a moment
        self._lingers = False  # something passed over is committed in a moment
        self._progress = asyncio.Event()
        self._patience = Patience()
        self._parts = 1
        self.is_running = False

    def start(self) -> None:
        """The bus runs, perhaps in another loop."""
        self._progress = asyncio.Event()
        self.is_running = self._gathers = self._lingers = False

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

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for deliveries to end, or to be committed: or for the subscription to be cancelled."""
        while not (is_so() or self._is_over()):
            await self.change()

    # --- commits ---------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Commit what is due: at once where nothing is under way that could go along, else in a moment. Later what is passed over."""
        if self.is_running:
            return
        if self.is_due:
            if not (self._more_begins or any(share.pending for share in self._shares.values() if share.has_news)):
                self.all()
            elif not self._gathers:
                self._gathers = True
                self._lifetime.crew.call_later(_GATHER_S, self._gathered)
        elif not self._lingers and any(share.has_news for share in self._shares.values()):
            self._lingers = True
            self._lifetime.crew.call_later(_LINGER_S, self._lingered)

    def expects_more(self, does: bool) -> None:
        """More is about to begin, or not: what ended is committed with that, and not before, if it does not take long."""
        self._more_begins = does

    def all(self) -> None:
        """Commit everything that is known, soon."""
        if not self.is_running and any(share.has_news for share in self._shares.values()):
            self.is_running = True
            self._lifetime.crew.start(self._run_soon())

    def _gathered(self) -> None:
        self._gathers = False
        if self._lifetime.is_running:
            self.all()

    def _lingered(self) -> None:
        self._lingers = False
        if self._lifetime.is_running:
            self.all()

    async def run(self) -> None:
        """Commit until nothing is due."""
        self.is_running = True
        try:
            while await self._commit() and self.is_due:
                pass
        finally:
            self._ran()

    async def _run_soon(self) -> None:
        try:
            await self._commit()
        finally:
            self._ran()
        if self._lifetime.is_running:
            self.flush()

    def _ran(self) -> None:
        self.is_running = False
        self._progress.set()
        self._lifetime.look_idle()

    async def _commit(self) -> bool:
        """What is known by now; gives whether it makes sense to go on."""
        told = [share for share in self._shares.values() if share.has_news]
        if not told:
            return False
        news = [share.take() for share in told]
        try:
            answers = await self._source.commit(news)
            self._patience.worked()
        except asyncio.CancelledError:
            _put_back(told, news)  # to say it twice changes nothing
            raise
        except JournalError as error:
            _put_back(told, news)
            self._trouble.tell("cursor not committed", error, group=self._group)
            if not self._lifetime.is_running:
                return False  # these deliveries repeat
            await self._patience.wait()
            answers = []
        for share in told:
            share.committed()
        for share, answer in zip(told, answers, strict=False):
            if isinstance(answer, LeaseLost):
                self._lost(share)
        self._progress.set()
        return True


def _put_back(told: Sequence[Share], news: Sequence[News]) -> None:
    for share, untold in zip(told, news, strict=True):
        share.put_back(untold)
