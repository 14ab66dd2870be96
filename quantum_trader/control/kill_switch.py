"""Kill switch: one mode, one way in, no dependence on anything but itself.

Requests in, `killswitch.changed` out; HALT also closes the bus to events that move money. A latched mode stays until a
request with `force`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from eventbus import InMemoryEventBus
from quantum_trader.events import KillSwitchChangedEvent, KillSwitchRequestedEvent
from quantum_trader.model import KillMode

SOURCE = "kill_switch"

_STRICTNESS = (KillMode.OFF, KillMode.REDUCE_ONLY, KillMode.HALT)


class KillSwitch:
    """Holds the mode. A stricter mode is always taken; a weaker one never while latched, unless forced."""

    publishes: ClassVar = (KillSwitchChangedEvent,)

    def __init__(self, bus: InMemoryEventBus, mode: KillMode = KillMode.OFF, *, latched: bool = False) -> None:
        self._bus = bus
        self._token: str | None = None
        self.mode = mode
        self.latched = latched
        if mode is KillMode.HALT:
            self._token = bus.halt("restored")
        bus.subscribe(KillSwitchRequestedEvent, self.on_requested, name="kill_switch.requested")

    def decide(self, request: KillSwitchRequestedEvent) -> bool:
        """Take a request; whether anything changed."""
        weaker = _STRICTNESS.index(request.mode) < _STRICTNESS.index(self.mode)
        if weaker and self.latched and not request.force:
            return False
        latched = request.latch or (self.latched and not request.force)
        if (request.mode, latched) == (self.mode, self.latched):
            return False
        self.mode, self.latched = request.mode, latched
        return True

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {"mode": self.mode.value, "latched": self.latched}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described, and the bus with it: its journal may tell of a halt that came later."""
        self.mode, self.latched = KillMode(state["mode"]), state["latched"]
        if self.mode is KillMode.HALT:
            self._token = self._bus.halt("restored")
        elif self._bus.is_halted:
            self._bus.rearm(self._bus.halt("restored"))
            self._token = None

    async def on_requested(self, event: KillSwitchRequestedEvent) -> None:
        if not self.decide(event):
            return
        # The halt comes first: nothing that moves money slips in before everybody has heard.
        if self.mode is KillMode.HALT:
            self._token = self._bus.halt(event.reason)
        elif self._token is not None:
            self._bus.rearm(self._token)
            self._token = None
        await self._bus.publish(
            KillSwitchChangedEvent(
                mode=self.mode,
                reason=event.reason,
                actor=event.actor,
                latched=self.latched,
                session=event.session,
                timestamp=event.timestamp,
                source=SOURCE,
            )
        )
