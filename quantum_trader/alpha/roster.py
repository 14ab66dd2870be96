"""Fixed roster: strategies that are LIVE from the first bar on by the operator's word, and stay so.

For runs that study something else than selection: reference runs, benchmarks, examples. Each promotion says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Final

from eventbus import EventBus
from quantum_trader.alpha.families import StrategySpec
from quantum_trader.events import MarketBarEvent, RunStartedEvent, StrategyCreatedEvent, StrategyPromotedEvent
from quantum_trader.model import StrategyLifecycle

SOURCE = "fixed_roster"
BEFORE_THE_RUN: Final = -1  # every session is later


class FixedRoster:
    """Creates `specs` when a run starts, and promotes them with its first bar by the operator's `words`.

    Not at once: a promotion is a CONTROL event, which would overtake the creation.
    """

    publishes: ClassVar = (StrategyCreatedEvent, StrategyPromotedEvent)

    def __init__(
        self, bus: EventBus, specs: Sequence[StrategySpec], *, words: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._bus = bus
        self._words = words
        self._specs = tuple(specs)
        self._waiting: tuple[StrategySpec, ...] = ()  # created, not yet promoted
        bus.subscribe(RunStartedEvent, self.on_run_started, name="roster.run")
        bus.subscribe(MarketBarEvent, self.on_bar, name="roster.bar")

    async def on_run_started(self, event: RunStartedEvent) -> None:
        self._waiting = self._specs
        for trial_no, spec in enumerate(self._specs, start=1):
            await self._bus.publish(
                StrategyCreatedEvent(
                    strategy_id=spec.strategy_id,
                    family=spec.family,
                    params=spec.named,
                    trial_no=trial_no,
                    timestamp=event.timestamp,
                    source=SOURCE,
                )
            )

    async def on_bar(self, event: MarketBarEvent) -> None:
        waiting, self._waiting = self._waiting, ()
        for spec in waiting:
            await self._bus.publish(
                StrategyPromotedEvent(
                    strategy_id=spec.strategy_id,
                    from_stage=StrategyLifecycle.BACKTEST,
                    to_stage=StrategyLifecycle.LIVE,
                    reason="fixed roster: no evaluation was asked for",
                    evaluation_id=self._words.get(spec.strategy_id),
                    session=BEFORE_THE_RUN,
                    timestamp=event.timestamp,
                    source=SOURCE,
                )
            )
