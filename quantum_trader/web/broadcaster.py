"""Broadcaster: control charts live: what happens on a chart becomes a message for the WebSocket clients that listen to it.

One more `AlertNotifier`, for violations and acknowledgements, subscribed to samples and limits besides. Each event is translated
once, however many listen, and not at all while nobody does. Knows no client and no socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from eventbus import Event, EventBus
from quantum_trader.events import (
    ControlLimitsUpdatedEvent,
    SampleProcessedEvent,
    ViolationAcknowledgedEvent,
    ViolationCreatedEvent,
)


class Audience(Protocol):
    """Those who listen: the hub of a gateway. Messages are sent as they are, and nobody is waited for."""

    def tell_chart(self, kind: str, characteristic_id: int, payload: Mapping[str, Any]) -> int:
        """For those who listen to one characteristic; gives to how many it went."""
        ...

    def tell_everybody(self, kind: str, payload: Mapping[str, Any], *, topic: str) -> int:
        """For everybody who may see events of that type."""
        ...


class WebSocketBroadcaster:
    """Tells `audience` what it hears on `bus`. Timestamps are ISO 8601 with their offset: a browser takes one without for local time."""

    def __init__(self, bus: EventBus, audience: Audience) -> None:
        self._audience = audience
        bus.subscribe(SampleProcessedEvent, self.on_sample, name="broadcaster.sample")
        bus.subscribe(ControlLimitsUpdatedEvent, self.on_limits, name="broadcaster.limits")

    async def on_sample(self, event: SampleProcessedEvent) -> None:
        broadcast(event, self._audience)

    async def on_limits(self, event: ControlLimitsUpdatedEvent) -> None:
        broadcast(event, self._audience)

    async def notify_violation_created(self, event: ViolationCreatedEvent) -> None:
        broadcast(event, self._audience)

    async def notify_violation_acknowledged(self, event: ViolationAcknowledgedEvent) -> None:
        broadcast(event, self._audience)


def broadcast(event: Event, audience: Audience) -> None:
    """Tell of an event of a control chart; any other is no news here."""
    match event:
        case SampleProcessedEvent():
            audience.tell_chart("sample", event.characteristic_id, _sample(event))
        case ViolationCreatedEvent():
            audience.tell_chart("violation", event.characteristic_id, _violation(event))
        case ControlLimitsUpdatedEvent():
            audience.tell_chart("control_limits", event.characteristic_id, _limits(event))
        case ViolationAcknowledgedEvent():
            audience.tell_everybody("ack_update", _acknowledged(event), topic=event.type)


_Payload = dict[str, Any]


def _sample(event: SampleProcessedEvent) -> _Payload:
    return {
        "sample_id": event.sample_id,
        "characteristic_id": event.characteristic_id,
        "timestamp": _iso(event.timestamp),
        "value": event.mean,
        "zone": event.zone,
        "in_control": event.in_control,
    }


def _violation(event: ViolationCreatedEvent) -> _Payload:
    return {
        "violation_id": event.violation_id,
        "sample_id": event.sample_id,
        "characteristic_id": event.characteristic_id,
        "rule_id": event.rule_id,
        "rule_name": event.rule_name,
        "severity": event.severity,
        "timestamp": _iso(event.timestamp),
    }


def _acknowledged(event: ViolationAcknowledgedEvent) -> _Payload:
    return {
        "violation_id": event.violation_id,
        "acknowledged": True,
        "user": event.user,
        "reason": event.reason,
        "timestamp": _iso(event.timestamp),
    }


def _limits(event: ControlLimitsUpdatedEvent) -> _Payload:
    return {
        "characteristic_id": event.characteristic_id,
        "center_line": event.center_line,
        "ucl": event.ucl,
        "lcl": event.lcl,
        "method": event.method,
        "sample_count": event.sample_count,
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat()
