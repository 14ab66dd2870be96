"""Analytics: whatever a run decided is found in its file, in the table of its kind or in the one for the rest."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from eventbus import Event, InMemoryEventBus
from quantum_trader.app import build, load_feed
from quantum_trader.config import load_config
from quantum_trader.events import is_decision
from quantum_trader.monitoring.analytics import FILE_NAME, AnalyticsService

TABLES = {
    "trade.executed": "trades",
    "portfolio.updated": "equity",
    "order.denied": "denials",
    "strategy.promoted": "promotions",
    "model.promoted": "promotions",
    "policy.updated": "policies",
    "spc.sample_processed": "samples",
    "spc.violation_created": "violations",
    "spc.alert_threshold_exceeded": "thresholds",
    "evaluation.started": "evaluations",
}
RUN: dict[str, dict[str, Any]] = {"universe": {"end": "2001-12-31"}, "strategies": {"all_live": True}}


async def test_every_decision_event_of_a_run_is_stored(tmp_path: Path) -> None:
    config = load_config(environ={}, overrides=RUN)
    heard: Counter[str] = Counter()

    async def count(event: Event) -> None:
        if is_decision(event):
            heard[event.type] += 1

    async with InMemoryEventBus(max_queue_size=100_000) as bus:
        system = build(bus, config, load_feed(config))
        analytics = AnalyticsService(bus, tmp_path / FILE_NAME, system.record, system.digest)
        bus.subscribe("*", count)
        await system.run()
        analytics.close()
        system.close()
    assert len(heard) > 15
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        kept = Counter(dict(db.execute("SELECT type, count(*) FROM events GROUP BY type")))
        stored = {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in set(TABLES.values())}
        (text,) = db.execute("SELECT event FROM events WHERE type = 'market.bar' AND session = 7 LIMIT 1").fetchone()
    for table, rows in stored.items():
        told = [heard[kind] for kind, place in TABLES.items() if place == table]
        assert rows >= sum(told), table  # what is told by the clock on the wall lies there too
    assert kept == {kind: number for kind, number in heard.items() if kind not in TABLES and kind != "run.started"}
    assert '"session":7' in text
