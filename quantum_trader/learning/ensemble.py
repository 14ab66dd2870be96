"""Ensemble manager: runs the members, judges each by every bar, and tells one forecast and one volatility per symbol.

Bars in, `prediction.scored` and `prediction.made` out. Live members are combined by their recent errors; members in shadow
and those just replaced are scored and nothing more. No confidence is ever touched here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from eventbus import EventBus, Reject
from quantum_trader.events import (
    MarketBarEvent,
    MetricRecordedEvent,
    ModelPromotedEvent,
    ModelRejectedEvent,
    ModelTrainedEvent,
    PredictionItem,
    PredictionMadeEvent,
    PredictionScoredEvent,
    ScoreItem,
    SessionClosedEvent,
)
from quantum_trader.learning.catalogue import ENSEMBLE, FIRST, MODELS, build
from quantum_trader.learning.combination import HALF_LIFE, Combined, ErrorWeights, SigmaCalibration, fill_missing
from quantum_trader.learning.forecast import Forecaster, Observation, RangeHistory, digest
from quantum_trader.learning.lifecycle import ModelStage
from quantum_trader.learning.registry import CachingRegistry
from quantum_trader.learning.registry_reads import MODEL
from quantum_trader.model import Bar

SOURCE = "ensemble"


@dataclass(slots=True)
class Member:
    """One version of a model, with what it said about the next bar of each symbol."""

    model: str
    version: int
    forecaster: Forecaster
    stage: ModelStage
    said: dict[str, float] = field(default_factory=dict)
    retired_for: int = 0  # sessions

    @property
    def key(self) -> str:
        return f"{self.model}@{self.version}"


class EnsembleManager:
    """Holds the members. Parameters of a new version come from the registry and must have the digest announced."""

    publishes: ClassVar = (PredictionMadeEvent, PredictionScoredEvent, MetricRecordedEvent)

    def __init__(
        self,
        bus: EventBus,
        registry: CachingRegistry,
        *,
        half_life: float = HALF_LIFE,
        rollback_sessions: int = 63,
    ) -> None:
        self._bus = bus
        self._keep_retired = 2 * rollback_sessions
        self._registry = registry
        self._histories: dict[str, RangeHistory] = {}
        self._weights = ErrorWeights(half_life)
        self._sigma = SigmaCalibration(half_life)
        self._said: dict[str, float] = {}  # the combined forecast for the next bar, by symbol
        self._bars: list[Bar] = []
        model, version, name = FIRST
        first = Member(model, version, build(model, name), ModelStage.LIVE)
        self._members: dict[tuple[str, int], Member] = {(model, version): first}
        bus.subscribe(MarketBarEvent, self.on_bar, name="ensemble.bar")
        bus.subscribe(SessionClosedEvent, self.on_session_closed, name="ensemble.closed")
        bus.subscribe(ModelTrainedEvent, self.on_model_trained, name="ensemble.trained")
        bus.subscribe(ModelPromotedEvent, self.on_model_promoted, name="ensemble.promoted")
        bus.subscribe(ModelRejectedEvent, self.on_model_rejected, name="ensemble.rejected")

    def stages(self) -> dict[str, ModelStage]:
        """The stage of each member, by model@version."""
        return {member.key: member.stage for member in self._members.values()}

    async def on_bar(self, event: MarketBarEvent) -> None:
        self._bars.append(event.bar)

    async def on_session_closed(self, event: SessionClosedEvent) -> None:
        bars, self._bars = sorted(self._bars, key=lambda bar: bar.symbol), []
        seen = {bar.symbol: self._history(bar.symbol).observe(bar) for bar in bars}
        scores = tuple(self._score(seen))
        for bar in bars:
            said = self._said.get(bar.symbol)
            self._sigma.observe(bar, None if said is None else seen[bar.symbol].y - said)
        for member in self._members.values():
            for symbol, observation in seen.items():
                member.forecaster.update(symbol, observation)
                said = member.forecaster.forecast(symbol)
                if said is not None:
                    member.said[symbol] = said
        if scores:
            await self._bus.publish(
                PredictionScoredEvent(session=event.session, items=scores, timestamp=event.timestamp, source=SOURCE)
            )
        self._age()
        await self._predict(event.session, event.timestamp)

    async def on_model_trained(self, event: ModelTrainedEvent) -> None:
        key = (event.model, event.version)
        if event.model not in MODELS or key in self._members:
            return
        self._load(key, announced=event.params_sha256)

    async def on_model_promoted(self, event: ModelPromotedEvent) -> None:
        """Live from the next forecast on. What it replaces stays scored while its successor has to prove itself."""
        key = (event.model_name, int(event.new_version))
        if event.model_name in MODELS and key not in self._members:
            self._load(key)
        for member in self._members.values():
            if member.model != event.model_name:
                continue
            if member.version == int(event.new_version):
                member.stage = ModelStage.LIVE
            elif member.stage is ModelStage.LIVE:
                member.stage = ModelStage.RETIRED
        self._drop(event.model_name, keep={int(event.new_version), int(event.old_version)})

    async def on_model_rejected(self, event: ModelRejectedEvent) -> None:
        member = self._members.get((event.model_name, int(event.version)))
        if member is not None and member.stage is ModelStage.SHADOW:
            self._forget(member)

    def _load(self, key: tuple[str, int], *, announced: str | None = None) -> None:
        """Take a registered version in, as a shadow. Raises `Reject` if its parameters are not those that were announced."""
        model, version = key
        entry = self._registry.get(MODEL, model, version)
        forecaster = build(model, entry.payload["name"])
        forecaster.restore(entry.payload["state"])
        if announced is not None and digest(forecaster) != announced:
            raise Reject(f"{model} {version}: the registered parameters are not those announced; train again")
        self._members[key] = Member(model, version, forecaster, ModelStage.SHADOW)
        self._members = dict(sorted(self._members.items()))

    def _age(self) -> None:
        for member in list(self._members.values()):
            member.retired_for = member.retired_for + 1 if member.stage is ModelStage.RETIRED else 0
            if member.retired_for > self._keep_retired:
                self._forget(member)

    def _drop(self, model: str, *, keep: set[int]) -> None:
        for member in [one for one in self._members.values() if one.model == model and one.version not in keep]:
            self._forget(member)

    def _forget(self, member: Member) -> None:
        del self._members[member.model, member.version]
        self._weights.forget(member.key)

    def _history(self, symbol: str) -> RangeHistory:
        history = self._histories.get(symbol)
        if history is None:
            history = self._histories[symbol] = RangeHistory()
            self._histories = dict(sorted(self._histories.items()))
        return history

    def _score(self, seen: Mapping[str, Observation]) -> Iterator[ScoreItem]:
        for member in self._members.values():
            items = list(_scored(member.model, member.version, member.stage.value, member.said, seen))
            if items:
                self._weights.score(member.key, math.fsum(item.error**2 for item in items) / len(items))
            yield from items
        yield from _scored(ENSEMBLE, 0, ModelStage.LIVE.value, self._said, seen)

    async def _predict(self, session: int, at: datetime) -> None:
        live = [member for member in self._members.values() if member.stage is ModelStage.LIVE]
        combined: dict[str, Combined | None] = {}
        unusable: set[str] = set()
        for symbol in self._histories:
            forecasts = {member.key: member.said[symbol] for member in live if symbol in member.said}
            combined[symbol] = self._weights.combine(forecasts)
            unusable.update(key for key, value in forecasts.items() if not math.isfinite(value))
        for key in sorted(unusable):
            await self._report_dropped(key, session, at)
        self._said = {symbol: one.value for symbol, one in combined.items() if one is not None}
        values, filled = fill_missing({symbol: self._said.get(symbol) for symbol in self._histories})
        versions = {member.model: member.version for member in live}
        items = tuple(
            PredictionItem(
                symbol=symbol,
                log_range=value,
                sigma_1d=self._sigma.sigma(symbol, value),
                members=versions,
                filled=symbol in filled,
            )
            for symbol, value in sorted(values.items())
        )
        await self._bus.publish(PredictionMadeEvent(session=session, items=items, timestamp=at, source=SOURCE))

    async def _report_dropped(self, key: str, session: int, at: datetime) -> None:
        await self._bus.publish(
            MetricRecordedEvent(
                metric="ensemble.member_dropped",
                value=1.0,
                unit="members",
                labels={"member": key},
                session=session,
                timestamp=at,
                source=SOURCE,
            )
        )

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "histories": {symbol: history.state() for symbol, history in self._histories.items()},
            "weights": self._weights.state(),
            "sigma": self._sigma.state(),
            "said": dict(self._said),
            "members": [
                {
                    "model": member.model,
                    "version": member.version,
                    "name": member.forecaster.name,
                    "state": member.forecaster.state(),
                    "stage": member.stage.value,
                    "said": dict(member.said),
                    "retired_for": member.retired_for,
                }
                for member in self._members.values()
            ],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._histories = {}
        for symbol, saved in state["histories"].items():
            self._history(symbol).restore(saved)
        self._weights.restore(state["weights"])
        self._sigma.restore(state["sigma"])
        self._said = dict(state["said"])
        self._members = {}
        for saved in state["members"]:
            forecaster = build(saved["model"], saved["name"])
            forecaster.restore(saved["state"])
            self._members[saved["model"], saved["version"]] = Member(
                saved["model"],
                saved["version"],
                forecaster,
                ModelStage(saved["stage"]),
                dict(saved["said"]),
                saved["retired_for"],
            )


def _scored(
    model: str, version: int, stage: str, said: Mapping[str, float], seen: Mapping[str, Observation]
) -> Iterator[ScoreItem]:
    for symbol, observation in seen.items():
        predicted = said.get(symbol)
        if predicted is not None and math.isfinite(predicted):
            yield ScoreItem(
                symbol=symbol,
                model=model,
                version=version,
                stage=stage,
                predicted=predicted,
                actual=observation.y,
                error=observation.y - predicted,
            )
