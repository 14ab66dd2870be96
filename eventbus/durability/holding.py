"""Holding: who gives groups their parts. Here each has one, and gets it at once: no other process is there to share with.

`Leases` does it where processes share a journal.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from eventbus.journal.parts import part_name

if TYPE_CHECKING:
    from eventbus.durability.group import Group
    from eventbus.journal.shared import Lease, Sharing


class Holding(Protocol):
    """What a group asks."""

    async def begin(self, group: Group) -> None:
        """A group is there: tell it how many parts it has, then give it those that are free, then and later.

        Raises `PolicyConflict` where it was made with others.
        """
        ...

    async def ready(self, group: Group) -> None:
        """Wait until other processes know of it, as far as this one is connected."""
        ...

    async def let_go(self, group: Group) -> None:
        """A group that was cancelled has finished: its parts are for the next."""
        ...

    def lost(self, lease: Lease) -> None:
        """The group was told by the journal that it has this one no longer."""
        ...


class SoleHolding:
    """Over a journal that no other process can have."""

    def __init__(self, sharing: Sharing) -> None:
        self._sharing = sharing

    async def begin(self, group: Group) -> None:
        if group.shares:
            return
        name = part_name(group.name, 0)
        lease = (await self._sharing.acquire([name]))[name]
        await group.gained(lease, math.inf)

    async def ready(self, group: Group) -> None:
        """It is the only process: nobody else has to know."""

    async def let_go(self, group: Group) -> None:
        """Nobody else waits for it."""

    def lost(self, lease: Lease) -> None:
        """It never is."""
