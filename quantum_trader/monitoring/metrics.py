"""Metrics logger: counts what passes on the bus, and writes the figures as JSON lines into a file that never grows large.

An onlooker for people who look later; those who look now have the Prometheus page.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

from eventbus import Event, InMemoryEventBus
from quantum_trader.events import MetricRecordedEvent, RunCompletedEvent, SessionDecideEvent


class MetricsLogger:
    """Writes one line every `every` sessions and one at the end. A file beyond `max_bytes` becomes `<name>.1`, and so on.

    `keep` old files stay. `failures` counts lines that could not be written: that stops nobody.
    """

    def __init__(
        self, bus: InMemoryEventBus, path: Path, *, every: int = 63, max_bytes: int = 1_000_000, keep: int = 3
    ) -> None:
        self._bus = bus
        self._path = path
        self._every = every
        self._max_bytes = max_bytes
        self._keep = keep
        self._counts: Counter[str] = Counter()
        self._last: dict[str, float] = {}
        self.failures = 0
        bus.subscribe("*", self.on_event, name="metrics_logger")

    @property
    def counts(self) -> dict[str, int]:
        """Events seen, by type."""
        return dict(sorted(self._counts.items()))

    async def on_event(self, event: Event) -> None:
        self._counts[event.type] += 1
        if isinstance(event, MetricRecordedEvent):
            labels = ",".join(f"{name}={value}" for name, value in sorted(event.labels.items()))
            self._last[f"{event.metric}{{{labels}}}" if labels else event.metric] = event.value
        elif isinstance(event, RunCompletedEvent):
            self._write({"session": event.sessions, "digest": event.digest})
        elif isinstance(event, SessionDecideEvent) and event.session % self._every == 0:
            self._write({"session": event.session, "date": event.timestamp.date().isoformat()})

    def _write(self, head: dict[str, Any]) -> None:
        stats = self._bus.get_stats()
        bus = {key: stats[key] for key in ("published", "errors", "queue_size", "dispatch_p50_ms", "dispatch_p99_ms")}
        line = json.dumps({**head, "bus": bus, "events": self.counts, "metrics": dict(sorted(self._last.items()))})
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
