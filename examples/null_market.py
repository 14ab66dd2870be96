"""How often do the gates promote luck? The demo days in another order, without drift: there is nothing to find in them.

Every strategy that goes live here is a false one. The gate asks whether a Sharpe ratio is positive, and spends its error over
all the looks of a stay; `gate = "dsr"` asks whether it is better than the best of as many tries as were made, too.
Give a number of shuffles as an argument.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import Literal

from eventbus import InMemoryEventBus
from quantum_trader.alpha.trials import Trials
from quantum_trader.config import Costs, GatesConfig, ModelGateConfig, StrategiesConfig
from quantum_trader.events import StrategyPromotedEvent
from quantum_trader.learning.evaluation import EvaluationHandler
from quantum_trader.learning.generator import StrategyGenerator
from quantum_trader.learning.model_subjects import ModelSubjects
from quantum_trader.learning.strategy_subjects import StrategySubjects
from quantum_trader.learning.task_queue import QueueHandler
from quantum_trader.market.dataset import Dataset, load_dataset
from quantum_trader.market.replayer import MarketReplayer
from quantum_trader.market.shuffle import shuffled
from quantum_trader.model import StrategyLifecycle
from quantum_trader.session import SessionClock

SHUFFLES = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of the generator came to."""

    trials: int
    to_shadow: int
    to_live: int


async def live_promotions(
    feed: Dataset, gate: Literal["psr", "dsr"] = "psr", *, breed: bool = True, seed: int = 7
) -> Outcome:
    """Evaluate and promote over the whole of `feed`, and breed unless told not to; nobody trades."""
    gates = GatesConfig(gate=gate)
    reached: dict[StrategyLifecycle, int] = dict.fromkeys(StrategyLifecycle, 0)

    async def count(event: StrategyPromotedEvent) -> None:
        reached[event.to_stage] += 1

    async with InMemoryEventBus() as bus:
        config = StrategiesConfig(gates=gates) if breed else StrategiesConfig(gates=gates, breed_most=0)
        subjects = StrategySubjects(Trials(Costs(), config, cooldown=5), config)
        EvaluationHandler(bus, QueueHandler(), subjects, ModelSubjects(ModelGateConfig()), warrant=lambda _: True)
        generator = StrategyGenerator(bus, config, seed=seed)
        bus.subscribe(StrategyPromotedEvent, count)
        await SessionClock(bus, MarketReplayer(feed)).run()
        assert len(bus.dead_letters) == 0
    return Outcome(generator.trials, reached[StrategyLifecycle.SHADOW], reached[StrategyLifecycle.LIVE])


async def main(shuffles: int) -> None:
    demo = load_dataset()
    real = await live_promotions(demo)
    print(f"real bars: {real.trials} candidates, {real.to_shadow} times to SHADOW, {real.to_live} times to LIVE")
    null = []
    for seed in range(shuffles):
        one = await live_promotions(shuffled(demo, seed=seed))
        null.append(one)
        print(f"shuffle {seed}: {one.trials} candidates, {one.to_shadow} to SHADOW, {one.to_live} to LIVE")
    lucky = sum(one.to_live for one in null) / shuffles
    print(f"{lucky:.2f} lucky promotions a run over {shuffles} shuffles, {real.to_live} on the real bars")
    print("the real ones are no proof of skill either: five stocks that survived, most of them rising")
    assert lucky < 1, "the gate lets luck through"
    assert real.to_live > lucky, "the gate lets nothing through"


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else SHUFFLES))
