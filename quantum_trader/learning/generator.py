"""Strategy generator: seeds and breeds strategies, has them reviewed, and moves them through their stages by the rules.

Evaluations in, `strategy.created`, `evaluation.requested` and `strategy.promoted` out. Every candidate ever made counts as
a trial: the more were tried, the more of the best one's figures is luck, and the deflated Sharpe ratio says how much.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final

import numpy as np

from eventbus import EventBus
from quantum_trader.alpha.families import FAMILIES, InvalidStrategy, StrategySpec
from quantum_trader.config import StrategiesConfig
from quantum_trader.events import (
    EvaluationCompletedEvent,
    EvaluationRequestedEvent,
    HealthStatusChangedEvent,
    Purpose,
    SessionClosedEvent,
    StrategyCreatedEvent,
    StrategyPromotedEvent,
)
from quantum_trader.learning.evaluation import request
from quantum_trader.learning.lifecycle import StageChange, StrategyMetrics, check_legal, review
from quantum_trader.model import HealthStatus, StrategyLifecycle

SOURCE = "strategy_generator"
_MUTATION: Final = (0.8, 1.25)  # factor of each parameter
_DRAWS: Final = 10  # for one child, until it is neither invalid nor a duplicate
_PURPOSES: Final = {
    StrategyLifecycle.BACKTEST: Purpose.BACKTEST,
    StrategyLifecycle.SHADOW: Purpose.SHADOW,
    StrategyLifecycle.LIVE: Purpose.LIVE_REVIEW,
}


@dataclass(slots=True)
class Candidate:
    """A strategy and where it stands. `since`: the session it entered its stage in."""

    spec: StrategySpec
    trial_no: int
    parents: tuple[str, ...] = ()
    stage: StrategyLifecycle = StrategyLifecycle.BACKTEST
    since: int = 0
    psr: float = 0.0  # of its last evaluation
    metrics: dict[str, float] = field(default_factory=dict)
    looks: int = 0  # at full windows, in this stay in BACKTEST
    rests_from: int | None = None  # the session of the last look that there was to be


class StrategyGenerator:
    """Owns the population. `seed` is the run's: the same seed breeds the same strategies."""

    publishes: ClassVar = (StrategyCreatedEvent, StrategyPromotedEvent, EvaluationRequestedEvent)

    def __init__(self, bus: EventBus, config: StrategiesConfig, *, seed: int) -> None:
        self._bus = bus
        self._config = config
        self._gates = config.gates
        self._seed = seed
        self._population: dict[str, Candidate] = {}
        self._health = HealthStatus.HEALTHY
        bus.subscribe(HealthStatusChangedEvent, self.on_health_changed, name="generator.health")
        bus.subscribe(SessionClosedEvent, self.on_session_closed, name="generator.closed")
        bus.subscribe(EvaluationCompletedEvent, self.on_evaluation_completed, name="generator.evaluated")

    @property
    def trials(self) -> int:
        """How many candidates were ever made."""
        return len(self._population)

    def candidates(self) -> dict[str, Candidate]:
        """Every candidate ever made, by id, in the order they were made."""
        return dict(self._population)

    async def on_health_changed(self, event: HealthStatusChangedEvent) -> None:
        self._health = event.overall

    async def on_session_closed(self, event: SessionClosedEvent) -> None:
        session, at = event.session, event.timestamp
        if not self._population:
            for seed in self._config.seeds:
                await self._create(StrategySpec(seed.family, tuple(seed.params)), (), session, at)
        if self._config.all_live or not session:
            return
        if session % self._config.breed_every == 0:
            await self._breed(session, at)
        if session % self._gates.review_every == 0:
            await self._ask_for_reviews(session, at)

    async def on_evaluation_completed(self, event: EvaluationCompletedEvent) -> None:
        candidate = self._population.get(event.subject_id)
        # An answer to a question of an earlier stage decides nothing in this one.
        if candidate is None or _PURPOSES.get(candidate.stage) is not event.purpose:
            return
        metrics = _metrics(event.metrics)
        if event.verdict != "NOT_JUDGED":
            candidate.psr, candidate.metrics = metrics.psr, dict(event.metrics)
        change = review(
            candidate.stage,
            metrics,
            sessions_in_stage=event.session - candidate.since,
            health=self._health,
            gates=self._gates,
        )
        if change is not None:
            if change.to_stage is StrategyLifecycle.LIVE:
                await self._replace(event)
            await self._move(event.subject_id, candidate, change, event.session, event.timestamp, event.evaluation_id)
        elif event.purpose is Purpose.BACKTEST and metrics.sessions >= self._gates.backtest_sessions:
            candidate.looks += 1
            if candidate.looks >= self._gates.backtest_looks:
                candidate.looks, candidate.rests_from = 0, event.session

    async def _replace(self, event: EvaluationCompletedEvent) -> None:
        """Retire the live strategies that the one about to go live is like, and better than."""
        for replaced in event.replaces:
            one = self._population.get(replaced)
            if one is not None and one.stage is StrategyLifecycle.LIVE:
                reason = f"REPLACED by {event.subject_id}"
                change = StageChange(one.stage, StrategyLifecycle.RETIRED, reason, dict(one.metrics))
                await self._move(replaced, one, change, event.session, event.timestamp, event.evaluation_id)

    async def _ask_for_reviews(self, session: int, at: datetime) -> None:
        requests = []
        for strategy_id, candidate in self._population.items():
            if candidate.stage is StrategyLifecycle.RETIRED:
                await self._reconsider(strategy_id, candidate, session, at)
                continue
            if candidate.rests_from is not None:
                if session - candidate.rests_from < self._gates.backtest_rest:
                    continue
                candidate.rests_from = None
            first = session - self._window(candidate.stage) + 1
            if candidate.stage is not StrategyLifecycle.BACKTEST:
                # What chose it must not be counted again: only sessions after it entered.
                first = max(first, candidate.since + 1)
            purpose = _PURPOSES[candidate.stage]
            requests.append(request("STRATEGY", strategy_id, purpose, first, session, timestamp=at, source=SOURCE))
        await self._bus.publish_many(requests)

    async def _reconsider(self, strategy_id: str, candidate: Candidate, session: int, at: datetime) -> None:
        change = review(
            candidate.stage,
            _metrics(candidate.metrics),
            sessions_in_stage=session - candidate.since,
            health=self._health,
            gates=self._gates,
        )
        if change is not None:
            await self._move(strategy_id, candidate, change, session, at, None)

    def _window(self, stage: StrategyLifecycle) -> int:
        match stage:
            case StrategyLifecycle.BACKTEST:
                return self._gates.backtest_sessions
            case StrategyLifecycle.SHADOW:
                return self._gates.shadow_patience + self._gates.review_every
            case _:
                return self._gates.live_sessions

    async def _move(
        self,
        strategy_id: str,
        candidate: Candidate,
        change: StageChange,
        session: int,
        at: datetime,
        evaluation_id: str | None,
    ) -> None:
        check_legal(strategy_id, change.from_stage, change.to_stage)
        candidate.stage, candidate.since, candidate.looks = change.to_stage, session, 0
        await self._bus.publish(
            StrategyPromotedEvent(
                strategy_id=strategy_id,
                from_stage=change.from_stage,
                to_stage=change.to_stage,
                reason=change.reason,
                metrics={**change.metrics, "trials": float(self.trials)},
                evaluation_id=evaluation_id,
                session=session,
                timestamp=at,
                source=SOURCE,
            )
        )

    async def _breed(self, session: int, at: datetime) -> None:
        alive = [key for key, one in self._population.items() if one.stage is not StrategyLifecycle.RETIRED]
        room = min(self._config.breed_most, self._config.population - len(alive))
        ranked = sorted(alive, key=lambda key: (-self._population[key].psr, key))
        random = np.random.Generator(np.random.Philox(key=_key(self._seed, session)))
        for parent in ranked[: max(0, room)]:
            child = self._child(parent, ranked, random)
            if child is not None:
                await self._create(*child, session, at)

    def _child(
        self, parent: str, ranked: list[str], random: np.random.Generator
    ) -> tuple[StrategySpec, tuple[str, ...]] | None:
        """A mutated cross of `parent` with the best other of its family; None when no draw was new and valid."""
        one = self._population[parent].spec
        mate = next((key for key in ranked if key != parent and self._population[key].spec.family == one.family), None)
        other = one if mate is None else self._population[mate].spec
        for _ in range(_DRAWS):
            try:
                child = StrategySpec(one.family, tuple(_mutated(one, other, random)))
            except InvalidStrategy:
                continue
            if child.strategy_id not in self._population:
                return child, (parent,) if mate is None else (parent, mate)
        return None

    async def _create(self, spec: StrategySpec, parents: tuple[str, ...], session: int, at: datetime) -> None:
        candidate = Candidate(spec, trial_no=self.trials + 1, parents=parents, since=session)
        self._population[spec.strategy_id] = candidate
        await self._bus.publish(
            StrategyCreatedEvent(
                strategy_id=spec.strategy_id,
                family=spec.family,
                params=spec.named,
                parents=parents,
                trial_no=candidate.trial_no,
                session=session,
                timestamp=at,
                source=SOURCE,
            )
        )

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "population": [
                {
                    "family": one.spec.family,
                    "params": list(one.spec.params),
                    "trial_no": one.trial_no,
                    "parents": list(one.parents),
                    "stage": one.stage.value,
                    "since": one.since,
                    "psr": one.psr,
                    "metrics": dict(one.metrics),
                    "looks": one.looks,
                    "rests_from": one.rests_from,
                }
                for one in self._population.values()
            ],
            "health": self._health.value,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._population = {}
        for saved in state["population"]:
            spec = StrategySpec(saved["family"], tuple(saved["params"]))
            self._population[spec.strategy_id] = Candidate(
                spec,
                saved["trial_no"],
                tuple(saved["parents"]),
                StrategyLifecycle(saved["stage"]),
                saved["since"],
                saved["psr"],
                dict(saved["metrics"]),
                saved["looks"],
                saved["rests_from"],
            )
        self._health = HealthStatus(state["health"])


def _mutated(one: StrategySpec, other: StrategySpec, random: np.random.Generator) -> Iterator[int]:
    """Each parameter of either parent, times U(0.8, 1.25), rounded and kept within its bounds."""
    bounds = FAMILIES[one.family].bounds.values()
    for (least, most), mine, theirs in zip(bounds, one.params, other.params, strict=True):
        taken = mine if random.random() < 0.5 else theirs
        yield min(max(round(taken * float(random.uniform(*_MUTATION))), least), most)


def _key(seed: int, session: int) -> int:
    """The Philox key of a session's breeding: 128 bits of the run's seed, the component and the session."""
    return int.from_bytes(hashlib.sha256(f"{seed}|{SOURCE}|{session}".encode()).digest()[:16], "big")


def _metrics(figures: Mapping[str, float]) -> StrategyMetrics:
    return StrategyMetrics(
        sessions=int(figures.get("sessions", 0)),
        trades=int(figures.get("trades", 0)),
        profit_factor=figures.get("profit_factor", 0.0),
        max_drawdown=figures.get("max_drawdown", 0.0),
        sharpe=figures.get("sharpe", 0.0),
        psr=figures.get("psr", 0.0),
        dsr=figures.get("dsr", 0.0),
        similarity=figures.get("similarity", 0.0),
    )
