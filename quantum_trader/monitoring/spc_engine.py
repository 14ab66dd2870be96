"""SPC engine: puts measured values on their control charts and tells every point, broken rule and new limit.

Each source of values has its handler here; charts come and go with their characteristics. What a violation means for
health, or whom it is told to, is decided elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final

from eventbus import EventBus, Reject
from quantum_trader.events import (
    AcknowledgeRequestedEvent,
    CharacteristicCreatedEvent,
    CharacteristicDeletedEvent,
    CharacteristicRequestedEvent,
    CharacteristicUpdatedEvent,
    ControlLimitsUpdatedEvent,
    MetricRecordedEvent,
    OrderApprovedEvent,
    OrderDeniedEvent,
    PortfolioUpdatedEvent,
    PredictionMadeEvent,
    PredictionScoredEvent,
    SampleProcessedEvent,
    SessionClosedEvent,
    Told,
    TradeExecutedEvent,
    ViolationAcknowledgedEvent,
    ViolationCreatedEvent,
)
from quantum_trader.model import Trigger
from quantum_trader.monitoring.characteristics import UnusableCharacteristic, chart_spec
from quantum_trader.monitoring.chart import Chart, Sample
from quantum_trader.monitoring.series import ReturnScale, mean_error, scaled_shortfall

SOURCE = "spc_engine"

PREDICTION: Final = "pred.log_range"
SHORTFALL: Final = "exec.shortfall"
RETURN: Final = "port.return"
DENIALS: Final = "risk.denials"

_OPEN_MOST: Final = 1_000  # violations remembered per chart until acknowledged


class UnknownViolation(Reject):
    """An acknowledgement names a violation that does not exist or is acknowledged already. Look the id up again."""

    def __init__(self, violation_id: int | str) -> None:
        super().__init__(f"violation {violation_id}: there is no open one of that id; list the open ones")
        self.violation_id = violation_id


@dataclass(slots=True)
class _Watched:
    characteristic_id: int
    chart: Chart
    settings: dict[str, Any]
    open: dict[str, tuple[int, ...]] = field(default_factory=dict)  # violation id -> samples involved
    clock: Told = "event"  # of what was measured last


class SpcEngine:
    """Charts by name. A value for which there is no chart is passed over: which charts there are is configuration."""

    publishes: ClassVar = (
        SampleProcessedEvent,
        ViolationCreatedEvent,
        ViolationAcknowledgedEvent,
        ControlLimitsUpdatedEvent,
    )

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._watched: dict[str, _Watched] = {}
        self._sigma: dict[str, float] = {}  # volatility expected of each symbol when today's orders were decided
        self._scale = ReturnScale()
        self._fills_session = -1
        self._fills: set[tuple[str, str]] = set()  # symbol and side charted in that session
        self._judged: dict[str, tuple[str, float]] = {}  # event id -> order id, 1 if denied; not charted yet
        bus.subscribe(CharacteristicCreatedEvent, self.on_created, name="spc.created")
        bus.subscribe(CharacteristicUpdatedEvent, self.on_updated, name="spc.updated")
        bus.subscribe(CharacteristicDeletedEvent, self.on_deleted, name="spc.deleted")
        bus.subscribe(PredictionScoredEvent, self.on_scored, name="spc.scored")
        bus.subscribe(PredictionMadeEvent, self.on_prediction, name="spc.prediction")
        bus.subscribe(TradeExecutedEvent, self.on_trade, name="spc.trade")
        bus.subscribe(PortfolioUpdatedEvent, self.on_portfolio, name="spc.portfolio")
        bus.subscribe(OrderApprovedEvent, self.on_judged, name="spc.approved")
        bus.subscribe(OrderDeniedEvent, self.on_judged, name="spc.denied")
        bus.subscribe(SessionClosedEvent, self.on_session_closed, name="spc.closed")
        bus.subscribe(MetricRecordedEvent, self.on_metric, name="spc.metric")
        bus.subscribe(AcknowledgeRequestedEvent, self.on_acknowledge, name="spc.acknowledge")
        bus.subscribe(CharacteristicRequestedEvent, self.on_requested, name="spc.requested")

    def chart(self, name: str) -> Chart | None:
        """The chart of that name, to look at; None when there is none."""
        found = self._watched.get(name)
        return None if found is None else found.chart

    def open_violations(self) -> tuple[str, ...]:
        """Ids of the violations not acknowledged yet, oldest first in each chart."""
        return tuple(violation_id for watched in self._watched.values() for violation_id in watched.open)

    async def on_created(self, event: CharacteristicCreatedEvent) -> None:
        spec = chart_spec(event.name, event.settings)
        if spec is not None:
            self._watched[event.name] = _Watched(event.characteristic_id, Chart(spec), dict(event.settings))

    async def on_updated(self, event: CharacteristicUpdatedEvent) -> None:
        before = self._watched.get(event.name)
        if before is None:
            return
        settings = {**before.settings, **event.changes}
        spec = chart_spec(event.name, settings)
        if spec is None:
            del self._watched[event.name]
            return
        after = _Watched(before.characteristic_id, Chart(spec), settings, before.open, before.clock)
        # Other rules judge the same points; another method or baseline has to begin anew.
        if event.changes.keys() <= {"rules"}:
            after.chart.restore(before.chart.state())
        self._watched[event.name] = after

    async def on_deleted(self, event: CharacteristicDeletedEvent) -> None:
        self._watched.pop(event.name, None)

    async def on_prediction(self, event: PredictionMadeEvent) -> None:
        self._sigma = {item.symbol: item.sigma_1d for item in event.items}

    async def on_scored(self, event: PredictionScoredEvent) -> None:
        error = mean_error(event.items)
        if error is not None:
            await self._observe(PREDICTION, error, event.session, event.timestamp)

    async def on_trade(self, event: TradeExecutedEvent) -> None:
        sigma = self._sigma.get(event.symbol)
        if event.session != self._fills_session:
            self._fills_session, self._fills = event.session, set()
        fill = (event.symbol, event.side.value)
        # A stop is measured against its own level, which is another quantity; and strategies that trade the same way at
        # the same open are one observation: repeated, they would narrow the limits (48 alarms in 1,000, instead of 12).
        if sigma and event.trigger is Trigger.OPEN and fill not in self._fills:
            self._fills.add(fill)
            value = scaled_shortfall(event.side, event.shortfall_bp, sigma)
            await self._observe(SHORTFALL, value, event.session, event.timestamp)

    async def on_portfolio(self, event: PortfolioUpdatedEvent) -> None:
        exposure = float(event.gross / event.equity) if event.equity > 0 else 0.0
        value = self._scale.scaled(event.day_return, exposure)
        if value is not None:
            await self._observe(RETURN, value, event.session, event.timestamp)

    async def on_judged(self, event: OrderApprovedEvent | OrderDeniedEvent) -> None:
        # Two subscriptions, and nobody says which is served first: what they tell becomes points when both have been
        # heard, in the order of the orders, and what is told twice counts once.
        self._judged[event.event_id] = (event.order_id, float(isinstance(event, OrderDeniedEvent)))

    async def on_session_closed(self, event: SessionClosedEvent) -> None:
        judged, self._judged = sorted(self._judged.values()), {}
        for _, is_denied in judged:
            await self._observe(DENIALS, is_denied, event.session, event.timestamp)

    async def on_metric(self, event: MetricRecordedEvent) -> None:
        if event.metric in self._watched:
            await self._observe(event.metric, event.value, event.session, event.timestamp, event.clock)

    async def on_acknowledge(self, event: AcknowledgeRequestedEvent) -> None:
        wanted = str(event.violation_id)
        watched = next((one for one in self._watched.values() if wanted in one.open), None)
        if watched is None:
            raise UnknownViolation(event.violation_id)
        involved = watched.open.pop(wanted)
        if event.exclude_samples:
            watched.chart.exclude(involved)
        await self._bus.publish(
            ViolationAcknowledgedEvent(
                violation_id=wanted,
                user=event.user,
                reason=event.reason,
                exclude_samples=event.exclude_samples,
                characteristic_id=watched.characteristic_id,
                clock=watched.clock,
                timestamp=event.timestamp,
                source=SOURCE,
            )
        )

    async def on_requested(self, event: CharacteristicRequestedEvent) -> None:
        if event.action == "rebase" and (watched := self._watched.get(event.name)) is not None:
            await self.rebase(watched.characteristic_id, at=event.timestamp)

    async def rebase(self, characteristic_id: int, *, at: datetime) -> None:
        """New limits for a chart, now. Raises BaselineTooShort, and UnusableCharacteristic when there is no chart."""
        for name, watched in self._watched.items():
            if watched.characteristic_id == characteristic_id:
                watched.chart.rebase()
                await self._tell_limits(name, watched, at)
                return
        raise UnusableCharacteristic(f"characteristic {characteristic_id}: it has no chart; choose one that has")

    async def _observe(self, name: str, value: float, session: int, at: datetime, clock: Told = "event") -> None:
        watched = self._watched.get(name)
        if watched is None or not math.isfinite(value):
            return
        watched.clock = clock
        version = watched.chart.version
        sample = watched.chart.gather(value)
        if sample is None:
            return
        is_rebased = watched.chart.version != version  # asked before anybody else has a turn
        await self._tell_sample(name, watched, sample, session, at)
        if is_rebased:
            await self._tell_limits(name, watched, at)

    async def _tell_sample(self, name: str, watched: _Watched, sample: Sample, session: int, at: datetime) -> None:
        limits = sample.limits
        await self._bus.publish(
            SampleProcessedEvent(
                sample_id=sample.sample_id,
                characteristic_id=watched.characteristic_id,
                mean=sample.value,
                range_value=sample.spread,
                zone="" if sample.zone is None else sample.zone.value,
                in_control=sample.in_control,
                chart=name,
                centre=None if limits is None else limits.centre,
                sigma=None if limits is None else limits.sigma,
                z=sample.z,
                phase=sample.phase.value,
                session=session,
                clock=watched.clock,
                timestamp=at,
                source=SOURCE,
            )
        )
        for violation in sample.violations:
            violation_id = f"{name}-{sample.sample_id}-{violation.rule.id}"
            watched.open[violation_id] = violation.involved
            if len(watched.open) > _OPEN_MOST:
                del watched.open[next(iter(watched.open))]
            await self._bus.publish(
                ViolationCreatedEvent(
                    violation_id=violation_id,
                    sample_id=sample.sample_id,
                    characteristic_id=watched.characteristic_id,
                    rule_id=violation.rule.id,
                    rule_name=violation.rule.name,
                    severity=violation.rule.severity.value,
                    chart=name,
                    involved=violation.involved,
                    session=session,
                    clock=watched.clock,
                    timestamp=at,
                    source=SOURCE,
                )
            )

    async def _tell_limits(self, name: str, watched: _Watched, at: datetime) -> None:
        limits = watched.chart.limits
        if limits is None:
            return
        await self._bus.publish(
            ControlLimitsUpdatedEvent(
                characteristic_id=watched.characteristic_id,
                center_line=limits.centre,
                ucl=limits.ucl,
                lcl=limits.lcl,
                method=limits.method,
                sample_count=limits.n_used,
                chart=name,
                sigma=limits.sigma,
                excluded_count=limits.n_excluded,
                iterations=limits.iterations,
                clock=watched.clock,
                timestamp=at,
                source=SOURCE,
            )
        )

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "charts": {
                name: {
                    "id": watched.characteristic_id,
                    "settings": dict(watched.settings),
                    "chart": watched.chart.state(),
                    "clock": watched.clock,
                    "open": {violation_id: list(samples) for violation_id, samples in watched.open.items()},
                }
                for name, watched in self._watched.items()
            },
            "sigma": dict(self._sigma),
            "scale": self._scale.state(),
            "fills_session": self._fills_session,
            "fills": sorted(list(fill) for fill in self._fills),
            "judged": [[event_id, *verdict] for event_id, verdict in self._judged.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._watched = {}
        for name, saved in state["charts"].items():
            spec = chart_spec(name, saved["settings"])
            if spec is not None:
                chart = Chart(spec)
                chart.restore(saved["chart"])
                opened = {violation_id: tuple(samples) for violation_id, samples in saved["open"].items()}
                self._watched[name] = _Watched(saved["id"], chart, dict(saved["settings"]), opened, saved["clock"])
        self._sigma = dict(state["sigma"])
        self._scale.restore(state["scale"])
        self._fills_session = state["fills_session"]
        self._fills = {(symbol, side) for symbol, side in state["fills"]}
        self._judged = {event_id: (order_id, is_denied) for event_id, order_id, is_denied in state["judged"]}
