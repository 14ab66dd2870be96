"""Control limits: the limits in force for each characteristic, those before them, and new ones on command.

Limits come from the charts of the SPC engine, by event; this is where the others look them up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from eventbus import EventBus
from quantum_trader.events import CharacteristicDeletedEvent, ControlLimitsUpdatedEvent
from quantum_trader.monitoring.spc_engine import SpcEngine

_KEPT: Final = 50  # sets of limits per characteristic


class ControlLimitService:
    """Remembers `spc.limits_updated`; asks the engine for new limits when somebody wants them."""

    def __init__(self, bus: EventBus, engine: SpcEngine) -> None:
        self._engine = engine
        self._history: dict[int, deque[ControlLimitsUpdatedEvent]] = {}
        bus.subscribe(ControlLimitsUpdatedEvent, self.on_limits_updated, name="control_limits.updated")
        bus.subscribe(CharacteristicDeletedEvent, self.on_deleted, name="control_limits.deleted")

    def current(self, characteristic_id: int) -> ControlLimitsUpdatedEvent | None:
        """The limits in force; None while the baseline is being collected."""
        known = self._history.get(characteristic_id)
        return known[-1] if known else None

    def history(self, characteristic_id: int) -> tuple[ControlLimitsUpdatedEvent, ...]:
        """Up to 50 sets of limits, the newest last."""
        return tuple(self._history.get(characteristic_id, ()))

    async def recalculate(self, characteristic_id: int, *, at: datetime) -> None:
        """Make a new baseline from the newest points now. Raises BaselineTooShort and UnusableCharacteristic."""
        await self._engine.rebase(characteristic_id, at=at)

    async def on_limits_updated(self, event: ControlLimitsUpdatedEvent) -> None:
        self._history.setdefault(event.characteristic_id, deque(maxlen=_KEPT)).append(event)

    async def on_deleted(self, event: CharacteristicDeletedEvent) -> None:
        self._history.pop(event.characteristic_id, None)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {str(key): [event.model_dump(mode="json") for event in kept] for key, kept in self._history.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._history = {
            int(key): deque(map(ControlLimitsUpdatedEvent.model_validate, kept), maxlen=_KEPT)
            for key, kept in state.items()
        }
