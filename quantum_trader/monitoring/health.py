"""System health monitor: judges every component once a session and tells each change of status.

The session clock asks it to, once all that the closed session led to is handled: whoever is dead by then cannot keep it from
judging, and the order of the others' messages decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from eventbus import EventBus
from quantum_trader.config import HealthConfig
from quantum_trader.events import (
    ComponentHeartbeatEvent,
    EvaluationFailedEvent,
    FeedAnomalyEvent,
    HealthStatusChangedEvent,
    MetricRecordedEvent,
    PortfolioUpdatedEvent,
    PredictionMadeEvent,
    PromotionRefusedEvent,
    SessionClosedEvent,
    Told,
    ViolationAcknowledgedEvent,
    ViolationCreatedEvent,
)
from quantum_trader.identity import RunIds
from quantum_trader.model import HealthStatus, Station
from quantum_trader.monitoring.health_rules import Alarm, Component, Finding, HealthFacts, worst
from quantum_trader.snapshot import event_values, events_of

SOURCE = "health_monitor"
POLICY_NOT_KEPT: Final = "policy_store.failed"  # the metric of a policy that could not be written
_DEGRADING = frozenset({"STALE", "JUMP"})


class SystemHealthMonitor:
    """Wires `HealthFacts` to the bus. `watched` are those who must say after every session that they are alive;
    the limits of a drawdown are fractions of `max_drawdown`.

    With `ids` what it tells has the ids that it has in every run of that identity.
    """

    publishes: ClassVar = (HealthStatusChangedEvent,)

    def __init__(
        self,
        bus: EventBus,
        limits: HealthConfig,
        *,
        max_drawdown: float = 0.20,
        watched: Iterable[Station] = (),
        ids: RunIds | None = None,
    ) -> None:
        self._bus = bus
        self._ids = ids
        self._facts = HealthFacts(limits, max_drawdown)
        self._runtime = HealthFacts(limits, max_drawdown)  # what is told by the clock on the wall, judged by itself
        self._statuses = dict.fromkeys(Component, HealthStatus.HEALTHY)
        self._waiting: list[ViolationCreatedEvent] = []
        self._letters = 0
        self._facts.heartbeats = dict.fromkeys((station.value for station in watched), -1)
        bus.subscribe(ViolationCreatedEvent, self.on_violation_created, name="health.violation")
        bus.subscribe(ViolationAcknowledgedEvent, self.on_violation_acknowledged, name="health.acknowledged")
        bus.subscribe(FeedAnomalyEvent, self.on_feed_anomaly, name="health.anomaly")
        bus.subscribe(EvaluationFailedEvent, self.on_evaluation_failed, name="health.evaluation")
        bus.subscribe(PromotionRefusedEvent, self.on_promotion_refused, name="health.refused")
        bus.subscribe(PredictionMadeEvent, self.on_prediction_made, name="health.prediction")
        bus.subscribe(
            MetricRecordedEvent,
            self.on_policy_not_kept,
            name="health.policy_store",
            where=lambda event: event.metric == POLICY_NOT_KEPT,
        )
        bus.subscribe(PortfolioUpdatedEvent, self.on_portfolio_updated, name="health.portfolio")
        bus.subscribe(
            ComponentHeartbeatEvent,
            self.on_heartbeat,
            name="health.heartbeat",
            where=lambda event: event.component in Station.__members__,
        )

    @property
    def statuses(self) -> dict[Component, HealthStatus]:
        return dict(self._statuses)

    @property
    def overall(self) -> HealthStatus:
        """The worst of all components but RUNTIME, which depends on the machine."""
        return worst(*(status for component, status in self._statuses.items() if component is not Component.RUNTIME))

    async def on_violation_created(self, event: ViolationCreatedEvent) -> None:
        self._waiting.append(event)

    async def on_violation_acknowledged(self, event: ViolationAcknowledgedEvent) -> None:
        for facts in (self._facts, self._runtime):
            facts.alarms.pop(str(event.violation_id), None)
        self._waiting = [alarm for alarm in self._waiting if alarm.violation_id != event.violation_id]

    async def on_feed_anomaly(self, event: FeedAnomalyEvent) -> None:
        if event.kind in _DEGRADING:
            self._facts.anomalies.append((event.session, event.symbol, event.kind))

    async def on_promotion_refused(self, event: PromotionRefusedEvent) -> None:
        who = event.claimed_by or "nobody"
        self._facts.forgeries.append((event.session, f"forged promotion of {event.strategy_id}, claimed by {who}"))

    async def on_evaluation_failed(self, event: EvaluationFailedEvent) -> None:
        if not event.will_retry:
            self._facts.failures.append((event.session, event.evaluation_id))

    async def on_prediction_made(self, event: PredictionMadeEvent) -> None:
        self._facts.heartbeats[Component.PREDICTION.value] = event.session

    async def on_heartbeat(self, event: ComponentHeartbeatEvent) -> None:
        self._facts.heartbeats[event.component] = event.session

    async def on_policy_not_kept(self, event: MetricRecordedEvent) -> None:
        self._runtime.faults.append((event.session, event.labels.get("problem", "the policy could not be kept")))

    async def on_portfolio_updated(self, event: PortfolioUpdatedEvent) -> None:
        self._facts.drawdown, self._facts.invariants_ok = event.drawdown, event.invariants_ok

    async def judge(self, event: SessionClosedEvent) -> None:
        """Judge the session that `event` closed; to be called when all that it led to is handled."""
        facts = self._facts
        for alarm in self._waiting:
            if alarm.session < event.session:
                told = facts if alarm.clock == "event" else self._runtime
                told.alarms[str(alarm.violation_id)] = Alarm(alarm.session, alarm.chart, alarm.rule_id)
        self._waiting = [alarm for alarm in self._waiting if alarm.session >= event.session]
        self._read_dead_letters(event.session)
        await self._judge(event)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "facts": self._facts.state(),
            "runtime": self._runtime.state(),
            "statuses": {component.value: status.value for component, status in self._statuses.items()},
            "waiting": [event_values(event) for event in self._waiting],
            "letters": self._letters,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._facts.restore(state["facts"])
        self._runtime.restore(state["runtime"])
        self._statuses = {Component(component): HealthStatus(status) for component, status in state["statuses"].items()}
        self._waiting = events_of(state["waiting"])
        self._letters = state["letters"]

    def _read_dead_letters(self, session: int) -> None:
        """Those of a component of ours are facts. Those of others are named, and change no decision."""
        letters = list(self._bus.dead_letters)
        for letter in letters[min(self._letters, len(letters)) :]:
            if not self._facts.dead_letter(session, letter.event.type, letter.subscription):
                self._runtime.faults.append((session, f"dead letter: {letter.event.type} at {letter.subscription}"))
        self._letters = len(letters)

    async def _judge(self, event: SessionClosedEvent) -> None:
        findings = self._facts.judge(event.session)
        for component in Component:
            if component is not Component.RUNTIME:
                await self._set(component, findings.get(component), event, "event")
        # Last, so that it finds and leaves the whole as it is: nothing that is decided hangs on the machine.
        finding = self._runtime.judge(event.session).get(Component.RUNTIME)
        await self._set(Component.RUNTIME, finding, event, "wall")

    async def _set(self, component: Component, finding: Finding | None, event: SessionClosedEvent, clock: Told) -> None:
        """Give a component the status that a finding asks for, HEALTHY without one, and tell of a change."""
        old = self._statuses[component]
        new = HealthStatus.HEALTHY if finding is None else finding.status
        if new is old:
            return
        header: dict[str, Any] = {}
        if self._ids is not None and clock == "event":
            header["event_id"] = self._ids.root(HealthStatusChangedEvent.type, event.session, component)
        overall_old = self.overall
        self._statuses[component] = new
        await self._bus.publish(
            HealthStatusChangedEvent(
                old_status=old,
                new_status=new,
                component=component.value,
                reason="quiet for the window" if finding is None else finding.reason,
                metrics={"drawdown": self._facts.drawdown, "open_alarms": len(self._facts.alarms)},
                overall_old=overall_old,
                overall_new=self.overall,
                session=event.session,
                clock=clock,
                timestamp=event.timestamp,
                source=SOURCE,
                **header,
            )
        )
