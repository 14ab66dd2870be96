"""Alerts: who is told of violations and acknowledgements, each on a line of their own.

Any number of notifiers (a WebSocket broadcaster, a chat) hang on the manager; one that fails or hangs concerns neither the
others nor whoever published. The drawdown has a ladder of thresholds instead of a chart: nine in ten of its points would
alarm on one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final, Protocol

from eventbus import EventBus
from quantum_trader.events import (
    AcknowledgeRequestedEvent,
    AlertThresholdExceededEvent,
    CharacteristicCreatedEvent,
    CharacteristicDeletedEvent,
    CharacteristicUpdatedEvent,
    PortfolioUpdatedEvent,
    ViolationAcknowledgedEvent,
    ViolationCreatedEvent,
)
from quantum_trader.monitoring.characteristics import THRESHOLDS

SOURCE = "alert_manager"
DRAWDOWN: Final = "port.drawdown"
_OPEN_MOST: Final = 1_000

_log = logging.getLogger(__name__)


class AlertNotifier(Protocol):
    """Somebody who tells people. What it raises is logged and counted, nothing more."""

    async def notify_violation_created(self, event: ViolationCreatedEvent) -> None: ...

    async def notify_violation_acknowledged(self, event: ViolationAcknowledgedEvent) -> None: ...


class AlertManager:
    """Keeps the open alerts and passes them on to `notifiers`, every one with its own subscriptions."""

    publishes: ClassVar = (AcknowledgeRequestedEvent,)

    def __init__(self, bus: EventBus, notifiers: Sequence[AlertNotifier] = ()) -> None:
        self._bus = bus
        self._open: dict[str, ViolationCreatedEvent] = {}
        self._notifiers = 0
        self.failures = 0  # notifications that raised
        bus.subscribe(ViolationCreatedEvent, self.on_violation, name="alerts.violation")
        bus.subscribe(ViolationAcknowledgedEvent, self.on_acknowledged, name="alerts.acknowledged")
        for notifier in notifiers:
            self.add_notifier(notifier)

    def add_notifier(self, notifier: AlertNotifier) -> None:
        """Tell one more from now on."""
        line = _Line(self, notifier)
        self._notifiers += 1
        name = f"alerts.{type(notifier).__name__}.{self._notifiers}"
        self._bus.subscribe(ViolationCreatedEvent, line.on_violation, name=f"{name}.violation")
        self._bus.subscribe(ViolationAcknowledgedEvent, line.on_acknowledged, name=f"{name}.acknowledged")

    def open_alerts(self) -> tuple[ViolationCreatedEvent, ...]:
        """Violations that nobody has acknowledged, oldest first."""
        return tuple(self._open.values())

    async def acknowledge(
        self,
        violation_id: int | str,
        *,
        user: str,
        reason: str,
        exclude_samples: bool = False,
        at: datetime,
    ) -> None:
        """Ask for a violation to be acknowledged; the SPC engine answers with the event, or refuses an unknown one."""
        await self._bus.publish(
            AcknowledgeRequestedEvent(
                violation_id=violation_id,
                user=user,
                reason=reason,
                exclude_samples=exclude_samples,
                timestamp=at,
                source=SOURCE,
            )
        )

    async def on_violation(self, event: ViolationCreatedEvent) -> None:
        self._open[str(event.violation_id)] = event
        if len(self._open) > _OPEN_MOST:
            del self._open[next(iter(self._open))]

    async def on_acknowledged(self, event: ViolationAcknowledgedEvent) -> None:
        self._open.pop(str(event.violation_id), None)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {"open": [event.model_dump(mode="json") for event in self._open.values()]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        events = map(ViolationCreatedEvent.model_validate, state["open"])
        self._open = {str(event.violation_id): event for event in events}


class _Line:
    """One notifier's line: its failures end here."""

    def __init__(self, manager: AlertManager, notifier: AlertNotifier) -> None:
        self._manager = manager
        self._notifier = notifier
        self.station = type(notifier).__name__  # whose line it is, for whoever draws the wiring

    async def on_violation(self, event: ViolationCreatedEvent) -> None:
        try:
            await self._notifier.notify_violation_created(event)
        except Exception:  # noqa: BLE001 - a foreign notifier may raise anything, and it is nobody else's business
            self._failed(event.violation_id)

    async def on_acknowledged(self, event: ViolationAcknowledgedEvent) -> None:
        try:
            await self._notifier.notify_violation_acknowledged(event)
        except Exception:  # noqa: BLE001 - as above
            self._failed(event.violation_id)

    def _failed(self, violation_id: int | str) -> None:
        self._manager.failures += 1
        _log.exception("%s could not tell of violation %s", type(self._notifier).__name__, violation_id)


class DrawdownLadder:
    """Tells each threshold that the drawdown rises to, once until it has fallen below again."""

    publishes: ClassVar = (AlertThresholdExceededEvent,)

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._id: int | None = None
        self._levels: tuple[float, ...] = ()
        self._reached = 0
        bus.subscribe(CharacteristicCreatedEvent, self.on_created, name="ladder.created")
        bus.subscribe(CharacteristicUpdatedEvent, self.on_updated, name="ladder.updated")
        bus.subscribe(CharacteristicDeletedEvent, self.on_deleted, name="ladder.deleted")
        bus.subscribe(PortfolioUpdatedEvent, self.on_portfolio, name="ladder.portfolio")

    async def on_created(self, event: CharacteristicCreatedEvent) -> None:
        if event.name == DRAWDOWN and event.settings.get("type") == THRESHOLDS:
            self._id, self._levels, self._reached = event.characteristic_id, tuple(event.settings["levels"]), 0

    async def on_updated(self, event: CharacteristicUpdatedEvent) -> None:
        if event.characteristic_id == self._id and "levels" in event.changes:
            self._levels, self._reached = tuple(event.changes["levels"]), 0

    async def on_deleted(self, event: CharacteristicDeletedEvent) -> None:
        if event.characteristic_id == self._id:
            self._id, self._levels, self._reached = None, (), 0

    async def on_portfolio(self, event: PortfolioUpdatedEvent) -> None:
        reached = sum(event.drawdown >= level for level in self._levels)
        newly, self._reached = self._levels[self._reached : reached], reached
        for level in newly:
            await self._bus.publish(
                AlertThresholdExceededEvent(
                    characteristic_id=self._id or 0,
                    metric="drawdown",
                    value=event.drawdown,
                    threshold=level,
                    session=event.session,
                    timestamp=event.timestamp,
                    source=SOURCE,
                )
            )

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {"id": self._id, "levels": list(self._levels), "reached": self._reached}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._id, self._levels, self._reached = state["id"], tuple(state["levels"]), state["reached"]


def ladder_settings(max_drawdown: float) -> dict[str, Any]:
    """The characteristic of the ladder: half, four fifths and all of the drawdown that is allowed."""
    return {"type": THRESHOLDS, "levels": [round(share * max_drawdown, 9) for share in (0.5, 0.8, 1.0)]}
