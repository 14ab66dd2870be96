"""29 September 2000: AAPL closes at half of the day before. The stop fills at the open, far below its level.

A real crash and a missed split look alike to a feed: the JUMP keeps entries out for five sessions, exits still run. The
drawdown climbs its ladder.
"""

from __future__ import annotations

import asyncio
from typing import Any

from eventbus import InMemoryEventBus
from quantum_trader.app import build, load_feed
from quantum_trader.config import load_config
from quantum_trader.events import (
    AlertThresholdExceededEvent,
    FeedAnomalyEvent,
    HealthStatusChangedEvent,
    TradeExecutedEvent,
)
from quantum_trader.model import Trigger

OPEN_POLICY = {
    "global_min_confidence": 0.0,
    "max_risk_per_trade": 0.2,
    "max_positions": 5,
    "gross_limit": 1.0,
    "top_n": 5,
}
OVERRIDES: dict[str, dict[str, Any]] = {
    "universe": {"symbols": ("AAPL",), "end": "2000-12-29"},
    "ranker": {"enabled": False},
    "policy": {"fixed_mode": "AGGRESSIVE", "aggressive": OPEN_POLICY},
    # Long since August, with a stop wide enough to survive a bad September.
    "strategies": {"all_live": True, "stop_atr": 6.0, "seeds": ({"family": "trend", "params": (40, 100)},)},
}


async def main() -> None:
    config = load_config(environ={}, overrides=OVERRIDES)
    bus = InMemoryEventBus(max_queue_size=100_000)
    system = build(bus, config, load_feed(config))
    stops: list[TradeExecutedEvent] = []
    jumps: list[FeedAnomalyEvent] = []
    entries: list[int] = []
    health: list[HealthStatusChangedEvent] = []

    @bus.on(TradeExecutedEvent)
    async def on_trade(event: TradeExecutedEvent) -> None:
        if event.trigger is Trigger.STOP:
            stops.append(event)
        elif event.side.sign > 0:
            entries.append(event.session)

    @bus.on(FeedAnomalyEvent)
    async def on_anomaly(event: FeedAnomalyEvent) -> None:
        if event.kind == "JUMP":
            jumps.append(event)

    @bus.on(HealthStatusChangedEvent)
    async def on_health(event: HealthStatusChangedEvent) -> None:
        health.append(event)

    rungs: list[AlertThresholdExceededEvent] = []

    @bus.on(AlertThresholdExceededEvent)
    async def on_rung(event: AlertThresholdExceededEvent) -> None:
        rungs.append(event)

    async with bus:
        await system.run()
    system.close()

    (jump,) = jumps
    print(f"{jump.timestamp.date()}: {jump.detail}")
    crash = [trade for trade in stops if trade.session == jump.session]
    for trade in crash:
        print(f"{trade.strategy_id}: stop filled at {trade.price}, {trade.shortfall_bp:,.0f} bp beyond its level")
    print(
        [f"{event.component} {event.new_status}: {event.reason}" for event in health if event.session >= jump.session][
            :3
        ]
    )

    for rung in rungs:
        print(f"{rung.timestamp.date()}: {rung.metric} {rung.value:.1%} reaches {rung.threshold:.0%}")

    assert jump.timestamp.date().isoformat() == "2000-09-29"
    assert crash, "nobody was long, or the stop did not fill"
    assert all(trade.shortfall_bp > 2_000 for trade in crash), "the gap cost nothing"
    # A decision of session t fills in t + 1: the last quarantined session is the jump's plus four.
    assert not [session for session in entries if jump.session < session <= jump.session + 5]
    assert system.record.denials["SYMBOL_NOT_ALLOWED"] == 1, "the quarantine was never asked"
    assert [rung.threshold for rung in rungs if rung.session == jump.session], "the ladder was not climbed"
    assert {"DATA", "PORTFOLIO"} <= {event.component for event in health if event.session == jump.session}


if __name__ == "__main__":
    asyncio.run(main())
