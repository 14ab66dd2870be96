"""Replay digest: one number for everything a run decided.

Two runs over the same data, configuration and seed agree in it, whatever the machine, its speed or who else listens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic_core import to_json

from eventbus import Event, EventBus
from quantum_trader.events import is_decision

NOTHING: Final = hashlib.sha256().hexdigest()
_KEPT: Final = 10_000  # lines
_HEADER: Final = {"event_id", "correlation_id", "causation_id", "metadata"}


class ReplayDigest:
    """SHA-256 over type, event time, source and payload of every decision event, barrier by barrier.

    Identities are left out, and so is the order inside a barrier: between two barriers components work side by side, and
    who spoke first says nothing about what was decided. The session clock calls `barrier` when all is quiet. Each barrier
    is hashed together with the digest before it, so that a run that is continued goes on from a number.
    """

    def __init__(self, bus: EventBus) -> None:
        self._value = NOTHING
        self._pending: list[bytes] = []
        self._lines: dict[str, bytes] = {}  # of the events since the last barrier, by id
        self.events = 0
        bus.subscribe("*", self.on_event, name="replay_digest")

    async def on_event(self, event: Event) -> None:
        if is_decision(event):
            self._pending.append(self.line(event))
            self.events += 1

    def line(self, event: Event) -> bytes:
        """`decision_line` of an event, made once for all who ask before the next barrier."""
        line = self._lines.get(event.event_id)
        if line is None:
            if len(self._lines) >= _KEPT:  # a run that goes on tells what was, and has no barriers there
                self._lines.clear()
            line = self._lines[event.event_id] = decision_line(event)
        return line

    def barrier(self) -> None:
        """Everything up to here has been handled."""
        if self._pending:
            self._value = chained(self._value, self._pending)
            self._pending.clear()
        self._lines.clear()

    def hexdigest(self) -> str:
        """The digest of everything up to the last barrier."""
        return self._value

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values; taken at a barrier."""
        return {"value": self._value, "events": self.events}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._value, self.events = state["value"], state["events"]
        self._pending.clear()
        self._lines.clear()


def decision_line(event: Event) -> bytes:
    """What of a decision event is hashed, and what two runs are compared by."""
    return b"%b %b\n" % (event.type.encode(), to_json(event, exclude=_HEADER))


def told_in(line: bytes) -> str:
    """The JSON object in a decision line."""
    return line[line.index(b" ") + 1 : -1].decode()


def chained(before: str, lines: Iterable[bytes]) -> str:
    """The digest after one more barrier with these lines, in any order."""
    return hashlib.sha256(before.encode() + b"".join(sorted(lines))).hexdigest()
