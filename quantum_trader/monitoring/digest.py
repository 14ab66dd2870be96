"""Replay digest: one number for everything a run decided.

Two runs over the same data, configuration and seed agree in it, whatever the machine, its speed or who else listens.
"""

from __future__ import annotations

import hashlib
from typing import Final

from eventbus import Event, InMemoryEventBus
from quantum_trader.events import is_decision

_HEADER: Final = {"event_id", "correlation_id", "causation_id", "metadata"}


class ReplayDigest:
    """SHA-256 over type, event time, source and payload of every decision event, barrier by barrier.

    Identities are left out, and so is the order inside a barrier: between two barriers components work side by side, and
    who spoke first says nothing about what was decided. The session clock calls `barrier` when all is quiet.
    """

    def __init__(self, bus: InMemoryEventBus) -> None:
        self._hash = hashlib.sha256()
        self._pending: list[bytes] = []
        self.events = 0
        bus.subscribe("*", self.on_event, name="replay_digest")

    async def on_event(self, event: Event) -> None:
        if is_decision(event):
            self._pending.append(f"{event.type} {event.model_dump_json(exclude=_HEADER)}\n".encode())
            self.events += 1

    def barrier(self) -> None:
        """Everything up to here has been handled."""
        self._pending.sort()
        self._hash.update(b"".join(self._pending))
        self._hash.update(b"\n")
        self._pending.clear()

    def hexdigest(self) -> str:
        """The digest of everything up to the last barrier."""
        return self._hash.hexdigest()
