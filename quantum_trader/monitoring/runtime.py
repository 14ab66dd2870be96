"""Runtime monitor: measures the bus itself, handler time and loop lag, for the charts of operations.

What it tells is by the clock on the wall: shown and notified, never decided on.
"""

from __future__ import annotations

import asyncio
import math
from typing import ClassVar, Final

from eventbus import Clock, EventBus, SystemClock
from quantum_trader.events import MetricRecordedEvent, SessionDecideEvent

SOURCE = "runtime_monitor"

HANDLER: Final = "runtime.handler_ms"
LAG: Final = "runtime.lag_ms"

_EVERY: Final = 5  # sessions


class RuntimeMonitor:
    """Every five sessions tells ln of the mean run time of a handler since the last time, and ln(1 + ms) of how long the
    event loop took to get round to a callback. `clock` only measures."""

    publishes: ClassVar = (MetricRecordedEvent,)

    def __init__(self, bus: EventBus, *, clock: Clock | None = None) -> None:
        self._bus = bus
        self._clock = clock or SystemClock()
        self._ran = (0, 0)  # handler runs and their nanoseconds, when last looked at
        self._lag_ns: int | None = None
        bus.subscribe(SessionDecideEvent, self.on_session_decide, name="runtime_monitor.decide")

    async def on_session_decide(self, event: SessionDecideEvent) -> None:
        if event.session % _EVERY:
            return
        before, self._ran = self._ran, self._bus.run_time()
        runs, spent_ns = self._ran[0] - before[0], self._ran[1] - before[1]
        lag_ns, self._lag_ns = self._lag_ns, None
        asyncio.get_running_loop().call_soon(self._came_round, self._clock.monotonic_ns())
        if runs > 0 and spent_ns > 0:
            await self._tell(HANDLER, math.log(spent_ns / runs / 1e6), "ln ms", event)
        if lag_ns is not None:
            await self._tell(LAG, math.log1p(lag_ns / 1e6), "ln(1 + ms)", event)

    def _came_round(self, asked_ns: int) -> None:
        self._lag_ns = self._clock.monotonic_ns() - asked_ns

    async def _tell(self, metric: str, value: float, unit: str, event: SessionDecideEvent) -> None:
        await self._bus.publish(
            MetricRecordedEvent(
                metric=metric,
                value=value,
                unit=unit,
                clock="wall",
                session=event.session,
                timestamp=event.timestamp,
                source=SOURCE,
            )
        )
