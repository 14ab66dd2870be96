"""Metrics logger: writes what the bus counts and what was measured as JSON lines into a file that never grows large.

An onlooker for people who look later; those who look now have the Prometheus page.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, TextIO

from eventbus import BusStats, EventBus
from quantum_trader.events import MetricRecordedEvent, RunCompletedEvent, SessionDecideEvent

_FIGURES: Final = ("published", "errors", "queue_size", "dispatch_p50_ms", "dispatch_p99_ms")


class MetricsLogger:
    """Writes one line every `every` sessions and one at the end. A file beyond `max_bytes` becomes `<name>.1`, and so on.

    `keep` old files stay. `failures` counts lines that could not be written: that stops nobody.
    """

    def __init__(
        self, bus: EventBus, path: Path, *, every: int = 63, max_bytes: int = 1_000_000, keep: int = 3
    ) -> None:
        self._bus = bus
        self._path = path
        self._every = every
        self._max_bytes = max_bytes
        self._keep = keep
        self._last: dict[str, float] = {}
        self.failures = 0
        bus.subscribe(MetricRecordedEvent, self.on_metric, name="metrics_logger.metric")
        bus.subscribe(SessionDecideEvent, self.on_session_decide, name="metrics_logger.decide")
        bus.subscribe(RunCompletedEvent, self.on_run_completed, name="metrics_logger.completed")

    @property
    def counts(self) -> dict[str, int]:
        """Events so far, by type. The bus counts them anyway: to be told of each would be a delivery per event."""
        return _counts(self._bus.stats())

    async def on_metric(self, event: MetricRecordedEvent) -> None:
        labels = ",".join(f"{name}={value}" for name, value in sorted(event.labels.items()))
        self._last[f"{event.metric}{{{labels}}}" if labels else event.metric] = event.value

    async def on_session_decide(self, event: SessionDecideEvent) -> None:
        if event.session % self._every == 0:
            self._write({"session": event.session, "date": event.timestamp.date().isoformat()})

    async def on_run_completed(self, event: RunCompletedEvent) -> None:
        self._write({"session": event.sessions, "digest": event.digest})

    def _write(self, head: dict[str, Any]) -> None:
        stats = self._bus.stats()
        bus = {name: getattr(stats, name) for name in _FIGURES}
        line = json.dumps({**head, "bus": bus, "events": _counts(stats), "metrics": dict(sorted(self._last.items()))})
        try:
            with self._opened() as file:
                file.write(line + "\n")
        except OSError:
            self.failures += 1

    def _opened(self) -> TextIO:
        if self._path.exists() and self._path.stat().st_size >= self._max_bytes:
            for number in range(self._keep - 1, 0, -1):
                older = self._path.with_name(f"{self._path.name}.{number}")
                if older.exists():
                    older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        return self._path.open("a", encoding="utf-8")


def _counts(stats: BusStats) -> dict[str, int]:
    return {name: of_type.dispatched for name, of_type in stats.types.items()}
