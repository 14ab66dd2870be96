"""Metrics logger: every event is counted, lines are JSON, files are bounded, and a full disk stops nobody."""

from __future__ import annotations

import json
from pathlib import Path

from eventbus import InMemoryEventBus
from quantum_trader.events import MetricRecordedEvent, RunCompletedEvent, SessionDecideEvent
from quantum_trader.monitoring.metrics import MetricsLogger

DONE = RunCompletedEvent(run_id="r", sessions=3, det_events=1, digest="d")


async def played(path: Path, sessions: int = 3, **settings: int) -> MetricsLogger:
    bus = InMemoryEventBus()
    logger = MetricsLogger(bus, path, **settings)
    async with bus:
        await bus.publish(MetricRecordedEvent(metric="m", value=2.5, unit="u", labels={"b": "2", "a": "1"}))
        for session in range(sessions):
            await bus.publish(SessionDecideEvent(session=session))
        await bus.publish(DONE)
    return logger


async def test_lines_hold_counts_metrics_and_the_state_of_the_bus(tmp_path: Path) -> None:
    logger = await played(tmp_path / "metrics.jsonl", every=2)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["session"] for line in lines] == [0, 2, 3]
    assert lines[-1]["metrics"] == {"m{a=1,b=2}": 2.5}
    assert lines[-1]["events"] == logger.counts
    assert logger.counts["session.decide"] == 3
    assert lines[-1]["bus"]["errors"] == 0


async def test_files_rotate_and_only_so_many_stay(tmp_path: Path) -> None:
    await played(tmp_path / "m.jsonl", sessions=20, every=1, max_bytes=1, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.jsonl", "m.jsonl.1", "m.jsonl.2"]
    assert all(len(path.read_text().splitlines()) == 1 for path in tmp_path.iterdir())


async def test_what_cannot_be_written_is_counted(tmp_path: Path) -> None:
    logger = await played(tmp_path / "missing" / "m.jsonl", every=1)
    assert logger.failures == 4
