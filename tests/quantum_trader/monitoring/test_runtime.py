"""Runtime monitor: handler time and loop lag become points by the wall clock."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from eventbus import InMemoryEventBus
from quantum_trader.events import MetricRecordedEvent, SessionDecideEvent, is_decision
from quantum_trader.monitoring.runtime import HANDLER, LAG, RuntimeMonitor

AT = datetime(2001, 1, 1, tzinfo=UTC)


class Ticking:
    """A clock that a millisecond passes on between any two looks at it."""

    def __init__(self) -> None:
        self._now_ns = 0

    def now(self) -> datetime:
        return AT

    def monotonic_ns(self) -> int:
        self._now_ns += 1_000_000
        return self._now_ns


async def test_every_fifth_session_has_its_handler_time_and_its_lag() -> None:
    bus = InMemoryEventBus(clock=Ticking())
    RuntimeMonitor(bus, clock=Ticking())
    told: list[MetricRecordedEvent] = []

    async def keep(event: MetricRecordedEvent) -> None:
        told.append(event)

    bus.subscribe(MetricRecordedEvent, keep)
    async with bus:
        for session in range(16):
            await bus.publish(SessionDecideEvent(session=session, timestamp=AT))
            await bus.drain()
    lags = [event for event in told if event.metric == LAG]
    times = [event for event in told if event.metric == HANDLER]
    assert [event.session for event in lags] == [5, 10, 15]  # the first is measured from session 0 on
    assert [event.value for event in lags] == pytest.approx([math.log(2)] * 3)
    assert {event.session for event in times} >= {5, 10, 15}
    assert all(math.exp(event.value) > 0 for event in times)
    assert not any(map(is_decision, told))
