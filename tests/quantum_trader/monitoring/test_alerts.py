from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal

from eventbus import InMemoryEventBus
from eventbus.testing.recorder import Recorder
from quantum_trader.events import (
    AcknowledgeRequestedEvent,
    AlertThresholdExceededEvent,
    PortfolioUpdatedEvent,
    ViolationAcknowledgedEvent,
    ViolationCreatedEvent,
)
from quantum_trader.monitoring.alerts import DRAWDOWN, AlertManager, DrawdownLadder, ladder_settings
from quantum_trader.monitoring.characteristics import Characteristics

AT = datetime(2001, 1, 1, tzinfo=UTC)


class Told:
    def __init__(self, error: Exception | None = None, *, hangs: bool = False) -> None:
        self.events: list[ViolationCreatedEvent | ViolationAcknowledgedEvent] = []
        self.release = asyncio.Event()
        self.twice = asyncio.Event()
        self._error = error
        self._hangs = hangs

    async def notify_violation_created(self, event: ViolationCreatedEvent) -> None:
        await self._take(event)

    async def notify_violation_acknowledged(self, event: ViolationAcknowledgedEvent) -> None:
        await self._take(event)

    async def _take(self, event: ViolationCreatedEvent | ViolationAcknowledgedEvent) -> None:
        self.events.append(event)
        if len(self.events) == 2:
            self.twice.set()
        if self._hangs:
            await self.release.wait()
        if self._error is not None:
            raise self._error


def violation(violation_id: str = "m.x-7-1") -> ViolationCreatedEvent:
    return ViolationCreatedEvent(
        violation_id=violation_id,
        sample_id=7,
        characteristic_id=1,
        rule_id=1,
        rule_name="Outlier",
        severity="CRITICAL",
        timestamp=AT,
    )


async def test_a_notifier_that_fails_reaches_neither_the_others_nor_the_publisher(event_bus: InMemoryEventBus) -> None:
    bad, good = Told(RuntimeError("no network")), Told()
    manager = AlertManager(event_bus, [bad, good])
    assert await event_bus.publish_and_wait(violation()) == []
    assert len(bad.events) == len(good.events) == 1
    assert manager.failures == 1
    assert len(event_bus.dead_letters) == 0
    assert [one.violation_id for one in manager.open_alerts()] == ["m.x-7-1"]


async def test_a_notifier_that_hangs_keeps_nobody_waiting(event_bus: InMemoryEventBus) -> None:
    slow, good = Told(hangs=True), Told()
    manager = AlertManager(event_bus, [slow])
    manager.add_notifier(good)
    await event_bus.publish(violation("m.x-7-1"))
    await event_bus.publish(violation("m.x-8-1"))
    async with asyncio.timeout(60):
        await good.twice.wait()
    assert len(slow.events) == 1
    slow.release.set()
    await event_bus.drain()
    assert len(slow.events) == 2


async def test_an_acknowledgement_is_asked_for_and_closes_the_alert_when_it_is_answered(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    told = Told()
    manager = AlertManager(event_bus, [told])
    await event_bus.publish(violation())
    await manager.acknowledge("m.x-7-1", user="ann", reason="known", at=AT)
    await event_bus.drain()
    assert recorder.of(AcknowledgeRequestedEvent)[0].user == "ann"
    assert len(manager.open_alerts()) == 1  # nobody has answered
    await event_bus.publish(
        ViolationAcknowledgedEvent(violation_id="m.x-7-1", user="ann", reason="known", timestamp=AT)
    )
    await event_bus.drain()
    assert manager.open_alerts() == ()
    assert [event.type for event in told.events] == ["spc.violation_created", "spc.violation_acknowledged"]


async def test_open_alerts_survive_a_restart(event_bus: InMemoryEventBus) -> None:
    manager = AlertManager(event_bus)
    await event_bus.publish(violation())
    await event_bus.drain()
    other = AlertManager(event_bus)
    other.restore(json.loads(json.dumps(manager.state())))
    assert other.open_alerts() == manager.open_alerts()


async def test_each_rung_is_told_once_until_the_drawdown_fell_below_it(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    known, _ladder = Characteristics(event_bus), DrawdownLadder(event_bus)
    await known.create(DRAWDOWN, ladder_settings(0.20), at=AT)
    for session, drawdown in enumerate([0.05, 0.10, 0.12, 0.17, 0.21, 0.11, 0.09, 0.20]):
        await event_bus.publish(
            PortfolioUpdatedEvent(
                session=session,
                cash=Decimal(1),
                equity=Decimal(1),
                gross=Decimal(0),
                realised=Decimal(0),
                fees=Decimal(0),
                drawdown=drawdown,
                day_return=0.0,
                timestamp=AT,
            )
        )
    await event_bus.drain()
    told = recorder.of(AlertThresholdExceededEvent)
    assert [(one.session, one.threshold) for one in told] == [
        (1, 0.1),
        (3, 0.16),
        (4, 0.2),
        (7, 0.1),
        (7, 0.16),
        (7, 0.2),
    ]
    assert told[0].characteristic_id == 1
