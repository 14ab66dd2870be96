"""Strategy generator: brings strategies into being and asks for their evaluation; promotes by verdicts alone.

At the start of a run it creates the seed population. With `all_live` every seed starts LIVE without any evaluation: for
runs that study something else, and said so in each promotion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from eventbus import InMemoryEventBus
from quantum_trader.events import RunStartedEvent, StrategyCreatedEvent, StrategyPromotedEvent
from quantum_trader.model import StrategyLifecycle

SOURCE = "strategy_generator"
BEFORE_THE_RUN = -1  # a session number that every session is later than


@dataclass(frozen=True, slots=True)
class Candidate:
    """A strategy by family and named parameters."""

    strategy_id: str
    family: str
    params: dict[str, int]


class SeedPlanter:
    """Creates the seeds when a run starts."""

    def __init__(self, bus: InMemoryEventBus, seeds: Sequence[Candidate], *, all_live: bool = False) -> None:
        self._bus = bus
        self._seeds = tuple(seeds)
        self._all_live = all_live
        bus.subscribe(RunStartedEvent, self.on_run_started, name="generator.run")

    async def on_run_started(self, event: RunStartedEvent) -> None:
        for trial_no, seed in enumerate(self._seeds, start=1):
            await self._bus.publish(
                StrategyCreatedEvent(
                    strategy_id=seed.strategy_id,
                    family=seed.family,
                    params=seed.params,
                    trial_no=trial_no,
                    timestamp=event.timestamp,
                    source=SOURCE,
                )
            )
            if self._all_live:
                await self._bus.publish(_straight_to_live(seed, event.timestamp))


def _straight_to_live(seed: Candidate, ts: datetime) -> StrategyPromotedEvent:
    return StrategyPromotedEvent(
        strategy_id=seed.strategy_id,
        from_stage=StrategyLifecycle.BACKTEST,
        to_stage=StrategyLifecycle.LIVE,
        reason="all_live: no evaluation was asked for",
        session=BEFORE_THE_RUN,
        timestamp=ts,
        source=SOURCE,
    )
