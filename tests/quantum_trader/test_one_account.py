"""One account: what a strategy is confident of, and what its evaluation measures, are the same profit to the last digit."""

from __future__ import annotations

import asyncio

from eventbus import InMemoryEventBus
from quantum_trader.app import build, load_feed
from quantum_trader.config import load_config
from quantum_trader.events import EvaluationCompletedEvent, MetricRecordedEvent, Purpose, SessionClosedEvent
from quantum_trader.learning.evaluation import request

JUDGED = 500  # a session in which confidence is stated


def test_confidence_is_the_psr_that_an_evaluation_of_the_same_sessions_finds() -> None:
    confident, measured = asyncio.run(both())
    assert len(confident) == 12
    assert len({value for value in confident.values() if value}) > 6
    assert confident == measured


async def both() -> tuple[dict[str, float], dict[str, float]]:
    config = load_config(environ={}, overrides={"universe": {"end": "2002-06-30"}, "strategies": {"all_live": True}})
    confident: dict[str, float] = {}
    measured: dict[str, float] = {}
    async with InMemoryEventBus(max_queue_size=100_000) as bus:
        system = build(bus, config, load_feed(config))

        async def ask(event: SessionClosedEvent) -> None:
            if event.session == JUDGED:
                for strategy_id in system.runtime.stages():
                    first = JUDGED - config.strategies.confidence_window + 1
                    await bus.publish(request("STRATEGY", strategy_id, Purpose.BACKTEST, first, JUDGED))

        async def stated(event: MetricRecordedEvent) -> None:
            if event.session == JUDGED and event.metric == "strategy.confidence":
                confident[event.labels["strategy_id"]] = event.value

        async def found(event: EvaluationCompletedEvent) -> None:
            measured[event.subject_id] = event.metrics["psr"]

        bus.subscribe(SessionClosedEvent, ask)
        bus.subscribe(MetricRecordedEvent, stated)
        bus.subscribe(EvaluationCompletedEvent, found)
        await system.run()
        system.close()
    return confident, measured
