"""What the charts of the product say over the demo run, trades included; the design's figures, then ours.

chart             rule-1 alarms in monitored points
pred.log_range    31 in 2,969   (27 in 2,998)
exec.shortfall     4 in   304   ( 4 in   332)
port.return       22 in 1,357   (16 in   831)
"""

from __future__ import annotations

from collections import Counter

import pytest

from eventbus import InMemoryEventBus
from quantum_trader.app import QUEUE_SIZE, build, load_feed
from quantum_trader.config import load_config
from quantum_trader.events import SampleProcessedEvent, ViolationCreatedEvent
from quantum_trader.monitoring.spc_engine import PREDICTION, RETURN, SHORTFALL


@pytest.mark.slow
async def test_alarms_over_the_demo_are_as_rare_as_in_the_design() -> None:
    config = load_config(environ={})
    points: Counter[str] = Counter()
    alarms: Counter[str] = Counter()

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
    assert (alarms[PREDICTION], points[PREDICTION]) == (27, 2_998)
    # The portfolio's own series depend on the gates in force: their rates, not their counts.
    assert points[SHORTFALL] > 50
    assert points[RETURN] > 100
    assert alarms[SHORTFALL] / points[SHORTFALL] == pytest.approx(4 / 304, abs=0.02)
    assert alarms[RETURN] / points[RETURN] == pytest.approx(22 / 1_357, abs=0.02)
