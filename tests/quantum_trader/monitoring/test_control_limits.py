from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from eventbus import InMemoryEventBus
from eventbus.testing.recorder import Recorder
from quantum_trader.events import ControlLimitsUpdatedEvent, MetricRecordedEvent
from quantum_trader.monitoring.characteristics import Characteristics, UnusableCharacteristic
from quantum_trader.monitoring.chart import BaselineTooShort
from quantum_trader.monitoring.control_limits import ControlLimitService
from quantum_trader.monitoring.spc_engine import SpcEngine

AT = datetime(2001, 1, 1, tzinfo=UTC)
IMR = {"type": "imr", "baseline": 10, "rebase": None, "rules": [1]}


async def feed(bus: InMemoryEventBus, *values: float) -> None:
    for value in values:
        await bus.publish(MetricRecordedEvent(metric="m.x", value=value, unit="1", timestamp=AT))
    await bus.drain()


async def test_limits_in_force_and_those_before_can_be_looked_up(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    known, engine = Characteristics(event_bus), SpcEngine(event_bus)
    service = ControlLimitService(event_bus, engine)
    await known.create("m.x", IMR, at=AT)
    await event_bus.drain()
    assert service.current(1) is None
    with pytest.raises(BaselineTooShort, match="0 usable points"):
        await service.recalculate(1, at=AT)
    with pytest.raises(UnusableCharacteristic, match="no chart"):
        await service.recalculate(2, at=AT)
    await feed(event_bus, *range(10))
    first = service.current(1)
    assert first is not None
    assert first.center_line == 4.5
    await feed(event_bus, *range(20, 30))
    await service.recalculate(1, at=AT)
    await event_bus.drain()
    assert [one.center_line for one in service.history(1)] == [4.5, 24.5]
    assert service.history(1) == tuple(recorder.of(ControlLimitsUpdatedEvent))

    other = ControlLimitService(InMemoryEventBus(), engine)
    other.restore(json.loads(json.dumps(service.state())))
    assert other.history(1) == service.history(1)

    await known.delete(1, at=AT)
    await event_bus.drain()
    assert service.current(1) is None
