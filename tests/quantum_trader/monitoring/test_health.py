"""Health: worst wins, a window forgets, an acknowledgement clears a violation and nothing else."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from eventbus import InMemoryEventBus
from quantum_trader.config import HealthConfig, PolicyConfig
from quantum_trader.control.controller import MetaStrategyController
from quantum_trader.control.policy_store import PolicyStoreError
from quantum_trader.events import (
    ComponentHeartbeatEvent,
    EvaluationFailedEvent,
    FeedAnomalyEvent,
    HealthStatusChangedEvent,
    OrderDeniedEvent,
    PolicyUpdatedEvent,
    PortfolioUpdatedEvent,
    RunStartedEvent,
    SessionClosedEvent,
    ViolationAcknowledgedEvent,
    ViolationCreatedEvent,
)
from quantum_trader.model import HealthStatus, OrderKind, Station
from quantum_trader.monitoring.health import SystemHealthMonitor
from quantum_trader.monitoring.health_rules import Alarm, Component, HealthFacts, worst

HEALTHY, DEGRADED, CRITICAL = HealthStatus
LIMITS = HealthConfig()


def facts(**known: Any) -> HealthFacts:
    return HealthFacts(LIMITS, **known)


def statuses(known: HealthFacts, session: int = 10) -> dict[Component, HealthStatus]:
    return {component: finding.status for component, finding in known.judge(session).items()}


def alarm(chart: str, rule: int = 1, session: int = 10) -> Alarm:
    return Alarm(session, chart, rule)


def test_worst_wins() -> None:
    assert worst() is HEALTHY
    assert worst(HEALTHY, CRITICAL, DEGRADED) is CRITICAL


def test_drawdown_climbs_its_ladder() -> None:
    assert statuses(facts(drawdown=0.0999)) == {}
    assert statuses(facts(drawdown=0.10)) == {Component.PORTFOLIO: DEGRADED}
    assert statuses(facts(drawdown=0.1601)) == {Component.PORTFOLIO: CRITICAL}


def test_broken_books_are_critical_whatever_else() -> None:
    assert statuses(facts(invariants_ok=False, drawdown=0.10)) == {Component.PORTFOLIO: CRITICAL}


def test_one_outlier_degrades_and_a_second_chart_is_critical_for_both() -> None:
    one = {"a": alarm("pred.log_range")}
    assert statuses(facts(alarms=one)) == {Component.PREDICTION: DEGRADED}
    assert statuses(facts(alarms={**one, "b": alarm("pred.log_range")})) == {Component.PREDICTION: DEGRADED}
    assert statuses(facts(alarms={**one, "b": alarm("exec.shortfall")})) == {
        Component.PREDICTION: CRITICAL,
        Component.EXECUTION: CRITICAL,
    }


def test_three_warnings_degrade_and_two_do_not() -> None:
    two = {"a": alarm("port.return", 2), "b": alarm("port.return", 5)}
    assert statuses(facts(alarms=two)) == {}
    assert statuses(facts(alarms={**two, "c": alarm("port.return", 6)})) == {Component.PORTFOLIO: DEGRADED}


def test_alarms_are_forgotten_after_the_window() -> None:
    known = facts(alarms={"a": alarm("pred.log_range", session=1)})
    assert statuses(known, session=10) == {Component.PREDICTION: DEGRADED}
    assert statuses(known, session=11) == {}


def test_silence_of_three_sessions_is_critical() -> None:
    known = facts(heartbeats={Component.PREDICTION: 7})
    assert statuses(known, session=9) == {}
    assert statuses(known, session=10) == {Component.PREDICTION: CRITICAL}


def portfolio(session: int, **fields: Any) -> PortfolioUpdatedEvent:
    zero = Decimal(0)
    usual: dict[str, Any] = {"drawdown": 0.0, "day_return": 0.0}
    return PortfolioUpdatedEvent(
        session=session, cash=zero, equity=zero, gross=zero, realised=zero, fees=zero, **{**usual, **fields}
    )


def violation(session: int, violation_id: str = "v1") -> ViolationCreatedEvent:
    return ViolationCreatedEvent(
        violation_id=violation_id,
        sample_id=1,
        characteristic_id=1,
        rule_id=1,
        rule_name="Outlier",
        severity="CRITICAL",
        chart="pred.log_range",
        session=session,
    )


class Ward:
    def __init__(self, bus: InMemoryEventBus, *watched: Station) -> None:
        self.bus = bus
        self.monitor = SystemHealthMonitor(bus, LIMITS, watched=watched)
        self.changes: list[tuple[str, HealthStatus]] = []
        bus.subscribe(HealthStatusChangedEvent, self.on_change)

    async def on_change(self, event: HealthStatusChangedEvent) -> None:
        self.changes.append((event.component, event.new_status))

    async def tell(self, *events: Any) -> None:
        """What a portfolio states ends a session, and then the clock asks for a judgement."""
        for event in events:
            await self.bus.publish(event)
            await self.bus.drain()
            if isinstance(event, PortfolioUpdatedEvent):
                await self.close(event.session)

    async def close(self, session: int) -> None:
        await self.monitor.judge(SessionClosedEvent(session=session, present=(), missing=()))
        await self.bus.drain()


async def test_violation_counts_from_the_next_session_and_an_acknowledgement_clears_it() -> None:
    async with InMemoryEventBus() as bus:
        ward = Ward(bus)
        await ward.tell(violation(5), portfolio(5))
        assert ward.changes == []
        await ward.tell(portfolio(6))
        assert ward.changes == [("PREDICTION", DEGRADED)]
        acknowledged = ViolationAcknowledgedEvent(violation_id="v1", user="ada", reason="known")
        await ward.tell(acknowledged, portfolio(7))
    assert ward.changes[1:] == [("PREDICTION", HEALTHY)]
    assert ward.monitor.overall is HEALTHY


async def test_acknowledgement_does_not_clear_a_drawdown() -> None:
    async with InMemoryEventBus() as bus:
        ward = Ward(bus)
        acknowledged = ViolationAcknowledgedEvent(violation_id="v1", user="ada", reason="known")
        await ward.tell(portfolio(1, drawdown=0.17), acknowledged, portfolio(2, drawdown=0.17))
        assert ward.monitor.overall is CRITICAL


async def test_jump_and_given_up_evaluation_degrade_but_a_missing_bar_does_not() -> None:
    async with InMemoryEventBus() as bus:
        ward = Ward(bus)
        await ward.tell(FeedAnomalyEvent(symbol="A", session=1, kind="MISSING", detail=""), portfolio(1))
        assert ward.changes == []
        failed = EvaluationFailedEvent(
            evaluation_id="e",
            subject_id="s",
            attempt=3,
            error_kind="ValueError",
            message="",
            will_retry=False,
            session=1,
        )
        await ward.tell(FeedAnomalyEvent(symbol="A", session=2, kind="JUMP", detail=""), failed, portfolio(2))
    assert sorted(ward.changes) == [("DATA", DEGRADED), ("EVALUATION", DEGRADED)]


async def test_dead_letter_of_who_moves_money_is_critical_and_an_onlooker_s_is_not() -> None:
    async def fail(_event: FeedAnomalyEvent) -> None:
        raise ValueError("broken")

    async with InMemoryEventBus() as bus:
        ward = Ward(bus)
        anomaly = FeedAnomalyEvent(symbol="A", session=1, kind="MISSING", detail="")
        onlooker = bus.subscribe(FeedAnomalyEvent, fail, name="dashboard.anomaly")
        await ward.tell(anomaly, portfolio(1))
        assert ward.changes == [("RUNTIME", DEGRADED)], "named, and no decision hangs on it"
        assert ward.monitor.overall is HEALTHY
        onlooker.cancel()
        bus.subscribe(FeedAnomalyEvent, fail, name="ledger.anomaly")
        await ward.tell(anomaly, portfolio(2))
    assert ward.changes[1:] == [("EXECUTION", CRITICAL)]


async def test_a_dead_letter_of_who_moves_no_money_degrades_and_the_third_is_critical() -> None:
    async def fail(_event: FeedAnomalyEvent) -> None:
        raise ValueError("broken")

    async with InMemoryEventBus() as bus:
        ward = Ward(bus)
        bus.subscribe(FeedAnomalyEvent, fail, name="ranker.anomaly")
        for session in (1, 2, 3):
            await ward.tell(FeedAnomalyEvent(symbol="A", session=session, kind="MISSING", detail=""))
            await ward.close(session)
    assert ward.changes == [("RANKER", DEGRADED), ("RANKER", CRITICAL)]


async def test_a_dead_letter_about_an_order_is_critical_at_the_first_whoever_of_ours_it_was() -> None:
    async def fail(_event: OrderDeniedEvent) -> None:
        raise ValueError("broken")

    async with InMemoryEventBus() as bus:
        ward = Ward(bus)
        bus.subscribe(OrderDeniedEvent, fail, name="spc.denied")
        denied = OrderDeniedEvent(
            order_id="o", strategy_id="s", symbol="A", kind=OrderKind.ENTRY, code="CASH", limit=1, value=2, session=1
        )
        await ward.tell(denied)
        await ward.close(1)
    assert ward.changes == [("EXECUTION", CRITICAL)]


async def test_whoever_is_watched_must_speak_of_every_session() -> None:
    async with InMemoryEventBus() as bus:
        ward = Ward(bus, Station.LEDGER)
        await ward.close(0)
        await ward.close(1)
        assert ward.changes == []
        await ward.close(2)
        assert ward.changes == [("PORTFOLIO", CRITICAL)]
        await ward.tell(ComponentHeartbeatEvent(component="LEDGER", session=3))
        await ward.close(3)
    assert ward.changes[1:] == [("PORTFOLIO", HEALTHY)]


async def test_a_policy_that_cannot_be_kept_degrades_the_runtime_and_stays_in_force() -> None:
    class FullDisk:
        def load(self) -> None:
            return None

        def save(self, policy: PolicyUpdatedEvent) -> None:
            raise PolicyStoreError(Path("policy.json"), f"cannot keep version {policy.version}")

    async with InMemoryEventBus() as bus:
        ward = Ward(bus)
        controller = MetaStrategyController(bus, FullDisk(), PolicyConfig())
        await ward.tell(RunStartedEvent(run_id="r", seed=1, config_sha256="", code_version="", universe=()))
        await ward.tell(portfolio(0))
        assert ward.changes == [("RUNTIME", DEGRADED)]
        assert ward.monitor.overall is HEALTHY
        await ward.tell(*(portfolio(session) for session in range(1, LIMITS.window + 1)))
    assert ward.changes[1:] == [("RUNTIME", HEALTHY)]
    assert controller.policy is not None
    assert len(bus.dead_letters) == 0


def test_charts_of_nobody_are_left_to_people() -> None:
    assert statuses(facts(alarms={"a": alarm("mine.own"), "b": alarm("my.other")})) == {}
    assert statuses(facts(alarms={str(at): alarm("mine.own", 2) for at in range(5)})) == {}
