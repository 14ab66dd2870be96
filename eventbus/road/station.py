"""Station: what a door asks of whatever writes events down. Durability has one; a bus in memory has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from eventbus.event import Event
    from eventbus.road.burst import Burst


class Station(Protocol):
    """Where accepted bursts stop before the lane, or are noted as they pass: what writes them down."""

    @property
    def writes_first(self) -> bool:
        """Are they written before they are dispatched?"""
        ...

    @property
    def is_shared(self) -> bool:
        """Do other processes handle what is written?"""
        ...

    async def ready(self, *, is_inside: bool) -> None:
        """Wait until it can take events; those of handlers wait for nothing but its opening."""
        ...

    def must_be_open(self, call: str) -> None:
        """Raise `BusNotRunning` for a call that cannot wait for its opening."""
        ...

    def record(self, event: Event) -> object:
        """What is written of an event; None: nothing is. Raises `CodecError`."""
        ...

    def take(self, burst: Burst) -> None:
        """A burst was accepted, and goes to the lane once it is written; or it is dispatched, and written behind."""
        ...

    @property
    def unwritten(self) -> int:
        """Events accepted and not yet written, or refused in the end."""
        ...
