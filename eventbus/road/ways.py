"""Ways: what a worker asks of who runs its attempts, and of who feeds it where the dispatcher does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from eventbus.event import Event
    from eventbus.road.burst import Burst
    from eventbus.road.context import Cell
    from eventbus.road.part import Part
    from eventbus.road.worker import Worker


class Way(Protocol):
    """How the attempts of a subscription get to run."""

    def wake(self, worker: Worker, *, first: bool = False) -> None:
        """Something may start: see to it, before the others if `first`."""
        ...

    def recall(self, worker: Worker) -> None:
        """Start nothing that was taken ahead."""
        ...

    def part_with(self, worker: Worker, part: Part) -> None:
        """The delivery of a part that runs, if one does, ends by itself; the rest of the part is somebody else's."""
        ...

    def abort(self, worker: Worker, cell: Cell) -> None:
        """The attempt inside of that cell is to end, whatever comes of it: cancel it where that can be done."""
        ...


class Feed(Protocol):
    """What gives a subscription its deliveries instead of the dispatcher: a durable group reads them from the journal."""

    def arrived(self, burst: Burst, events: Sequence[Event], indices: Sequence[int] | None) -> Part | None:
        """Events that the subscription listens to are dispatched; gives the part that receipts look at."""
        ...

    async def ready(self) -> None:
        """Wait until it is known where the subscription begins, where that is known elsewhere."""
        ...

    def ended(self) -> None:
        """The subscription was cancelled."""
        ...
