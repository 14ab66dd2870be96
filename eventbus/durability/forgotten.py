"""Forgotten: groups that no process has read for in a long time. They hold retention back, so they are told: nobody drops one silently.

When somebody left is written down beside the journal, so that it is known whoever looks. A label by the wall clock: nothing is decided
by it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from eventbus.log import log

if TYPE_CHECKING:
    from eventbus.clock import Clock
    from eventbus.durability.leases import Leases
    from eventbus.journal.shared import SharedJournal

LEFT = "left"
"""The space of groups that nobody reads for, with the time since when."""


class Forgotten:
    """As one process sees it. `after` is in seconds; None: a group is never forgotten."""

    def __init__(self, journal: SharedJournal, leases: Leases, clock: Clock, after: float | None) -> None:
        self._journal = journal
        self._leases = leases
        self._clock = clock
        self._after = after
        self.names: tuple[str, ...] = ()

    async def look(self) -> None:
        """Who reads for which group by now? Raises what the journal answers."""
        read = self._leases.read
        if self._after is None or read is None:
            return
        now, since = self._clock.now(), await self._journal.values(LEFT)
        made = await self._leases.made()
        changes: dict[str, bytes | None] = dict.fromkeys(since.keys() - (made - read))
        forgotten = []
        for name in sorted(made - read):
            if name not in since:
                changes[name] = now.isoformat().encode()
            elif (now - datetime.fromisoformat(since[name].decode())).total_seconds() >= self._after:
                forgotten.append(name)
        if changes:
            await self._journal.set_values(LEFT, changes)
        for name in forgotten:
            if name not in self.names:
                log.warning("nobody reads for group %s: drop_group() lets its events go", name, extra={"group": name})
        self.names = tuple(forgotten)
