"""Kill switch: one mode, one way in, no dependence on anything but itself.

Requests in, `killswitch.changed` out; HALT also closes the bus to events that move money. A latched mode stays until a
request with `force`. Its file tells a restart what held; one that cannot be read is a HALT.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from eventbus import EventBus
from quantum_trader.events import KillSwitchChangedEvent, KillSwitchRequestedEvent
from quantum_trader.files import write_whole
from quantum_trader.model import KillMode

SOURCE = "kill_switch"

_STRICTNESS = (KillMode.OFF, KillMode.REDUCE_ONLY, KillMode.HALT)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """What the switch was set to, by whom and why."""

    mode: KillMode
    latched: bool
    actor: str
    reason: str

    def is_stricter_than(self, mode: KillMode, *, latched: bool) -> bool:
        """Whether going on with `mode` would be a weakening."""
        return (_STRICTNESS.index(self.mode), self.latched) > (_STRICTNESS.index(mode), latched)


class SwitchFile:
    """The mode on disk: one small file, replaced whole, read by nothing but the switch and people."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Held | None:
        """What was kept, None when nothing was. What cannot be read is a HALT, latched: it may well have been one."""
        try:
            saved = json.loads(self._path.read_bytes())
            return Held(KillMode(saved["mode"]), bool(saved["latched"]), str(saved["actor"]), str(saved["reason"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return Held(KillMode.HALT, latched=True, actor=SOURCE, reason=f"{self._path} cannot be read")

    def save(self, held: Held) -> None:
        """Keep it. Raises `OSError`."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._path, json.dumps(asdict(held)).encode())


class KillSwitch:
    """Holds the mode. A stricter mode is always taken; a weaker one never while latched, unless forced."""

    publishes: ClassVar = (KillSwitchChangedEvent,)

    def __init__(
        self,
        bus: EventBus,
        mode: KillMode = KillMode.OFF,
        *,
        latched: bool = False,
        file: SwitchFile | None = None,
    ) -> None:
        self._bus = bus
        self._file = file
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
        """Become what `state()` described; `await take_effect()` then makes the bus so."""
        self.mode, self.latched = KillMode(state["mode"]), state["latched"]
        if self.mode is KillMode.HALT:
            self._token = self._bus.halt("restored")

    async def take_effect(self) -> None:
        """What was restored holds for the bus too: its journal may tell of a halt that came later."""
        if self.mode is not KillMode.HALT and self._bus.is_halted:
            await self._bus.rearm(self._bus.halt("restored"))
            self._token = None

    async def on_requested(self, event: KillSwitchRequestedEvent) -> None:
        if not self.decide(event):
            return
        # The halt comes first: nothing that moves money slips in before everybody has heard.
        if self.mode is KillMode.HALT:
            self._token = self._bus.halt(event.reason)
        elif self._token is not None:
            await self._bus.rearm(self._token)
            self._token = None
        self._keep(event)
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

    def _keep(self, event: KillSwitchRequestedEvent) -> None:
        if self._file is None:
            return
        try:
            self._file.save(Held(self.mode, self.latched, event.actor, event.reason))
        except OSError:  # a full disk must not keep anybody from hearing that trading stops
            _log.exception("the kill switch is at %s, and its file could not be written", self.mode)
