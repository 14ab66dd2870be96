"""What the charts of the product say over the demo run, trades included; the design's figures, then ours.

chart             rule-1 alarms in monitored points
pred.log_range    31 in 2,969   (37 in 2,998)
exec.shortfall     4 in   304   (17 in   960, every seed live)
port.return       22 in 1,357   (54 in 2,241, every seed live)

The forecast has ten alarms more than it had while challengers were asked at 5 % each time: models are replaced later now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from eventbus import InMemoryEventBus
from quantum_trader.app import QUEUE_SIZE, build, load_feed
from quantum_trader.config import load_config
from quantum_trader.events import SampleProcessedEvent, ViolationCreatedEvent
from quantum_trader.monitoring.spc_engine import PREDICTION, RETURN, SHORTFALL

Tally = Counter[str]


async def counted(**overrides: Mapping[str, Any]) -> tuple[Tally, Tally]:
    """Points judged and rule-1 alarms of each chart over the demo bars."""
    config = load_config(environ={}, overrides=overrides)
    points: Tally = Counter()
    alarms: Tally = Counter()

    async def on_sample(event: SampleProcessedEvent) -> None:
        points[event.chart] += event.phase == "MONITOR"

    async def on_violation(event: ViolationCreatedEvent) -> None:
        alarms[event.chart] += event.rule_id == 1

    bus = InMemoryEventBus(max_queue_size=QUEUE_SIZE)
    system = build(bus, config, load_feed(config))
    bus.subscribe(SampleProcessedEvent, on_sample)
    bus.subscribe(ViolationCreatedEvent, on_violation)
    async with bus:
        await system.run()
    system.close()
    return points, alarms


@pytest.mark.slow
@pytest.mark.long
async def test_forecast_errors_alarm_about_as_often_as_in_the_design() -> None:
    points, alarms = await counted()
    assert points[PREDICTION] == 2_998
    # Which models are live depends on the gates in force: the rate, not the count.
    assert alarms[PREDICTION] / points[PREDICTION] == pytest.approx(31 / 2_969, abs=0.004)


@pytest.mark.slow
@pytest.mark.long
async def test_fills_and_returns_of_a_trader_that_trades_alarm_about_as_often_as_in_the_design() -> None:
    points, alarms = await counted(strategies={"all_live": True})
    assert points[SHORTFALL] > 100
    assert points[RETURN] > 500
    assert alarms[SHORTFALL] / points[SHORTFALL] == pytest.approx(4 / 304, abs=0.02)
    assert alarms[RETURN] / points[RETURN] == pytest.approx(22 / 1_357, abs=0.02)
