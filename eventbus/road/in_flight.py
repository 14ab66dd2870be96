"""In flight: the attempts of one subscription that run, by their cells, and who waits until none does.

A dict, for the hot loops enter and leave it at each part.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from eventbus.road.context import Cell
from eventbus.road.part import Delivery, Part
from eventbus.road.waiters import Waiters

if TYPE_CHECKING:
    from eventbus.errors import BusStopped
    from eventbus.event import Event


class InFlight(dict[Cell, Part | Delivery]):
    """Of one subscription: a part of which one event after the other runs, or a delivery that is followed by itself."""

    __slots__ = ("waiters",)

    def __init__(self) -> None:
        super().__init__()
        self.waiters = Waiters()

    def takes(self, cell: Cell, what: Part | Delivery) -> None:
        """That is in flight now."""
        self[cell] = what

    def drops(self, cell: Cell) -> Part | Delivery | None:
        """It is no longer."""
        return self.pop(cell, None)

    @property
    def events(self) -> tuple[Event, ...]:
        """Those whose attempts run."""
        return tuple(
            what.event if isinstance(what, Delivery) else what.events[cell.at]
            for cell, what in [*self.items()]
            if cell.at >= 0 and (isinstance(what, Delivery) or cell.at < len(what.events))
        )

    def interrupt(self) -> None:
        """All of them look up before their next event."""
        for cell in self:
            cell.interrupt()

    async def quiet(self, grace: float) -> tuple[Event, ...]:
        """Wait up to `grace` seconds until no attempt runs; returns the events of those that still do."""
        if self.events:
            with self.waiters.one() as waiter:
                await asyncio.wait([waiter], timeout=grace)
        return self.events

    def look(self) -> None:
        """One may have ended: tell those who wait, if it was the last."""
        if self.waiters and not self.events:
            self.waiters.wake()

    def move(self) -> None:
        """The bus goes on in another loop: who waited in the old one is gone with it."""
        self.waiters = Waiters()

    def fail(self, error: BusStopped) -> None:
        """None of them is settled here: whoever waits for it is told so."""
        for what in self.values():
            (what if isinstance(what, Part) else what.part).burst.fail(error)
