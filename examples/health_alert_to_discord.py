"""From errors beyond all bounds to a message in a chat, by way of control charts; then acknowledged, and quiet.

One outlier degrades what it speaks of, and is not worth a message at full speed. A second chart makes it critical.

The webhook is a real HTTP server on the loopback that answers 429 once. No address outside this machine is used.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from pydantic import SecretStr

from eventbus import InMemoryEventBus
from quantum_trader.config import HealthConfig, NotifyConfig
from quantum_trader.events import (
    AcknowledgeRequestedEvent,
    HealthStatusChangedEvent,
    MetricRecordedEvent,
    NotificationSentEvent,
    PredictionScoredEvent,
    RunStartedEvent,
    ScoreItem,
    SessionClosedEvent,
)
from quantum_trader.model import HealthStatus
from quantum_trader.monitoring.characteristics import Characteristics
from quantum_trader.monitoring.discord import DiscordNotifier
from quantum_trader.monitoring.health import SystemHealthMonitor
from quantum_trader.monitoring.health_rules import Component
from quantum_trader.monitoring.series import ENSEMBLE
from quantum_trader.monitoring.spc_engine import SpcEngine

START = datetime(2020, 1, 1, tzinfo=UTC)
BASELINE = 60
CHART = {"type": "imr", "baseline": BASELINE, "rebase": None, "rules": [1], "subgroup": 1}


class Webhook(HTTPServer):
    """Takes messages as Discord does; the first is told to come again."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.messages: list[dict[str, Any]] = []
        self.refused = 0
        self.url = f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.server.refused:
            self.server.refused += 1
            self._answer(429, b'{"retry_after": 0.05}')
            return
        self.server.messages.append(body)
        self._answer(204, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


SLIPPAGE = "exec.shortfall"


def scored(session: int, error: float) -> PredictionScoredEvent:
    item = ScoreItem(symbol="IBM", model=ENSEMBLE, version=0, stage="LIVE", predicted=0.0, actual=error, error=error)
    return PredictionScoredEvent(session=session, items=(item,), timestamp=START + timedelta(days=session))


async def play(bus: InMemoryEventBus, health: SystemHealthMonitor, session: int, error: float, slippage: float) -> None:
    """One session: prediction and fills are scored, then health is judged, as the session clock would ask."""
    await bus.publish(scored(session, error))
    await bus.publish(
        MetricRecordedEvent(
            metric=SLIPPAGE, value=slippage, unit="1", session=session, timestamp=START + timedelta(days=session)
        )
    )
    await bus.drain()
    await bus.drain()
    await health.judge(SessionClosedEvent(session=session, timestamp=START + timedelta(days=session)))
    await bus.drain()


async def main(webhook: Webhook) -> None:
    bus = InMemoryEventBus()
    Characteristics(bus, {"pred.log_range": CHART, SLIPPAGE: CHART})
    engine = SpcEngine(bus)
    health = SystemHealthMonitor(bus, HealthConfig(window=10))
    settings = NotifyConfig(coalesce_s=0.01)  # as in a replay: what is critical, and no more
    changes: list[HealthStatusChangedEvent] = []
    sent: list[NotificationSentEvent] = []

    @bus.on(HealthStatusChangedEvent)
    async def on_change(event: HealthStatusChangedEvent) -> None:
        changes.append(event)
        print(f"session {event.session}: {event.component} {event.old_status} -> {event.new_status}: {event.reason}")

    @bus.on(NotificationSentEvent)
    async def on_sent(event: NotificationSentEvent) -> None:
        sent.append(event)

    dice = random.Random(3)
    async with bus, DiscordNotifier(bus, settings, webhook=SecretStr(webhook.url), quiet=True):
        await bus.publish(
            RunStartedEvent(
                run_id="alert", seed=3, config_sha256="", code_version="", universe=("IBM",), timestamp=START
            )
        )
        await bus.drain()
        for session in range(BASELINE + 20):
            await play(bus, health, session, dice.uniform(-0.4, 0.4), dice.uniform(-0.4, 0.4))
        assert not changes
        await play(bus, health, BASELINE + 20, 2.5, 0.1)  # far beyond three sigmas
        await play(bus, health, BASELINE + 21, 0.1, 2.5)  # the fills too
        assert health.statuses[Component.PREDICTION] is HealthStatus.DEGRADED
        assert not webhook.messages
        await play(bus, health, BASELINE + 22, 0.1, 0.1)
        assert health.statuses[Component.PREDICTION] is health.statuses[Component.EXECUTION] is HealthStatus.CRITICAL
        for violation_id in engine.open_violations():
            await bus.publish(AcknowledgeRequestedEvent(violation_id=violation_id, user="ada", reason="a known shock"))
        await bus.drain()
        await play(bus, health, BASELINE + 23, 0.1, 0.1)
        assert health.overall is HealthStatus.HEALTHY

    told = [message["embeds"][0]["title"] for message in webhook.messages]
    assert webhook.refused == 1
    assert told.count("PREDICTION is CRITICAL") == told.count("EXECUTION is CRITICAL") == 1, "told not once"
    assert told.count("PREDICTION is HEALTHY") == told.count("EXECUTION is HEALTHY") == 1, "recovery was not told"
    assert len(told) == 4
    assert max(event.attempts for event in sent) == 2, "the answer 429 was not retried"
    print(f"{len(told)} messages arrived, the first after a 429: {', '.join(told)}")


if __name__ == "__main__":
    server = Webhook()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        asyncio.run(main(server))
    finally:
        server.shutdown()
        server.server_close()
