"""Ensemble manager: forecasts the next session's range of every symbol by all models, and scores the last forecasts.

Bars in; `prediction.scored` for the session that closed and `prediction.made` for the next out. LIVE models are combined
by their recent errors; shadow models are scored and never used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from eventbus import InMemoryEventBus
from quantum_trader.events import (
    MarketBarEvent,
    ModelPromotedEvent,
    PredictionItem,
    PredictionMadeEvent,
    PredictionScoredEvent,
    ScoreItem,
    SessionClosedEvent,
)
from quantum_trader.learning.combination import ErrorWeights, SigmaCalibration, fill_missing
from quantum_trader.learning.forecast import Forecaster, Observation, RangeHistory
from quantum_trader.learning.lifecycle import ModelStage
from quantum_trader.model import Bar

SOURCE = "ensemble_manager"


@dataclass(slots=True)
class Member:
    """One model version of the ensemble and its forecasts for the coming session."""

    forecaster: Forecaster
    version: int = 1
    stage: ModelStage = ModelStage.SHADOW
    expected: dict[str, float] = field(default_factory=dict)


class EnsembleManager:
    """Wires forecasters to the bus. `members` are by name; at least one should be LIVE."""

    def __init__(self, bus: InMemoryEventBus, members: Mapping[str, Member], *, half_life: float = 60.0) -> None:
        self._bus = bus
        self._members = dict(sorted(members.items()))
        self._weights = ErrorWeights(half_life)
        self._calibration = SigmaCalibration(half_life)
        self._histories: dict[str, RangeHistory] = {}
        self._today: dict[str, tuple[Bar, Observation]] = {}
        self._combined: dict[str, float] = {}
        self._promotions: list[ModelPromotedEvent] = []
        bus.subscribe(MarketBarEvent, self.on_bar, name="ensemble.bar")
        bus.subscribe(SessionClosedEvent, self.on_session_closed, name="ensemble.closed")
        bus.subscribe(ModelPromotedEvent, self.on_model_promoted, name="ensemble.promoted")

    def stages(self) -> dict[str, ModelStage]:
        """The stage of each member, by name."""
        return {name: member.stage for name, member in self._members.items()}

    async def on_model_promoted(self, event: ModelPromotedEvent) -> None:
        self._promotions.append(event)

    async def on_bar(self, event: MarketBarEvent) -> None:
        history = self._histories.get(event.symbol)
        if history is None:
            history = self._histories[event.symbol] = RangeHistory()
        self._today[event.symbol] = (event.bar, history.observe(event.bar))

    async def on_session_closed(self, event: SessionClosedEvent) -> None:
        self._change_stages(event.session)
        today = {symbol: self._today[symbol] for symbol in sorted(self._today)}
        self._today.clear()
        scores = self._score(today)
        await self._bus.publish(
            PredictionScoredEvent(session=event.session, items=scores, timestamp=event.timestamp, source=SOURCE)
        )
        await self._predict(today, event.session, event.timestamp)

    def _change_stages(self, session: int) -> None:
        """A promotion told in one session holds from the next one on; the model it replaces retires."""
        waiting = []
        for event in self._promotions:
            if event.session >= session:
                waiting.append(event)
                continue
            old, new = self._members.get(str(event.old_version)), self._members.get(str(event.new_version))
            if new is not None:
                new.stage = ModelStage.LIVE
            if old is not None and old is not new:
                old.stage = ModelStage.RETIRED
        self._promotions = waiting

    def _score(self, today: Mapping[str, tuple[Bar, Observation]]) -> tuple[ScoreItem, ...]:
        items = []
        for name, member in self._members.items():
            losses = []
            for symbol, (_, seen) in today.items():
                expected = member.expected.get(symbol)
                if expected is None:
                    continue
                error = seen.y - expected
                losses.append(error * error)
                items.append(
                    ScoreItem(
                        symbol=symbol,
                        model=name,
                        version=member.version,
                        stage=member.stage.value,
                        predicted=expected,
                        actual=seen.y,
                        error=error,
                    )
                )
            if losses:
                self._weights.score(name, sum(losses) / len(losses))
        for symbol, (bar, seen) in today.items():
            combined = self._combined.get(symbol)
            self._calibration.observe(bar, None if combined is None else seen.y - combined)
        return tuple(items)

    async def _predict(self, today: Mapping[str, tuple[Bar, Observation]], session: int, ts: datetime) -> None:
        for member in self._members.values():
            for symbol, (_, seen) in today.items():
                member.forecaster.update(symbol, seen)
        symbols = sorted(self._histories)
        live: dict[str, dict[str, float]] = {symbol: {} for symbol in symbols}
        for name, member in self._members.items():
            member.expected = {}
            for symbol in symbols:
                expected = member.forecaster.forecast(symbol)
                if expected is not None:
                    member.expected[symbol] = expected
                    if member.stage is ModelStage.LIVE:
                        live[symbol][name] = expected
        self._combined = {}
        versions: dict[str, dict[str, int]] = {}
        for symbol in symbols:
            combined = self._weights.combine(live[symbol])
            if combined is not None:
                self._combined[symbol] = combined.value
                versions[symbol] = {name: self._members[name].version for name in combined.weights}
        filled, missing = fill_missing({symbol: self._combined.get(symbol) for symbol in symbols})
        items = tuple(
            PredictionItem(
                symbol=symbol,
                log_range=filled[symbol],
                sigma_1d=self._calibration.sigma(symbol, filled[symbol]),
                members=versions.get(symbol, {}),
                filled=symbol in missing,
            )
            for symbol in sorted(filled)
        )
        await self._bus.publish(PredictionMadeEvent(session=session, items=items, timestamp=ts, source=SOURCE))
