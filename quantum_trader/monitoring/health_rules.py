"""Health rules: what state each part of the system is in, from what happened in the last sessions.

Pure bookkeeping: the monitor tells it what it heard and publishes what changed. Worst wins; what is acknowledged no
longer counts, except what no acknowledgement can undo: a drawdown, a broken invariant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field
from enum import StrEnum
from typing import Any

from quantum_trader.config import HealthConfig
from quantum_trader.model import HealthStatus, Station

_ORDER = (HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.CRITICAL)
_CRITICAL_RULE = 1


class Component(StrEnum):
    """The parts of the system whose health is told, each on its own."""

    DATA = "DATA"
    PREDICTION = "PREDICTION"
    EXECUTION = "EXECUTION"
    PORTFOLIO = "PORTFOLIO"
    RISK = "RISK"
    EVALUATION = "EVALUATION"
    STRATEGIES = "STRATEGIES"
    RANKER = "RANKER"
    LEARNING = "LEARNING"
    RUNTIME = "RUNTIME"  # the machine and the bus: shown and notified, never part of the whole


# Which part of the system a chart speaks of, by the head of its name; one of nobody's is told and judged by people.
CHART_OF = {
    "pred": Component.PREDICTION,
    "exec": Component.EXECUTION,
    "port": Component.PORTFOLIO,
    "risk": Component.RISK,
    "runtime": Component.RUNTIME,
}


# What each station is, that says after every session that it is alive.
PART_OF = {
    Station.DATA: Component.DATA,
    Station.LEDGER: Component.PORTFOLIO,
    Station.EXECUTOR: Component.EXECUTION,
    Station.GUARD: Component.RISK,
    Station.STRATEGIES: Component.STRATEGIES,
    Station.RANKER: Component.RANKER,
    Station.EVALUATION: Component.EVALUATION,
    Station.LEARNING: Component.LEARNING,
}

# Whose dead letter it is, by the head of its subscription's name.
OURS = {
    "executor": Component.EXECUTION,
    "ledger": Component.EXECUTION,
    "risk_guard": Component.EXECUTION,
    "balancer": Component.EXECUTION,
    "orchestrator": Component.EXECUTION,
    "kill_switch": Component.RISK,
    "controller": Component.RISK,
    "runtime": Component.STRATEGIES,
    "generator": Component.STRATEGIES,
    "roster": Component.STRATEGIES,
    "ranker": Component.RANKER,
    "ensemble": Component.PREDICTION,
    "learning": Component.LEARNING,
    "registry": Component.LEARNING,
    "registry_cache": Component.LEARNING,
    "evaluation": Component.EVALUATION,
    "health": Component.RISK,
    "spc": Component.RISK,
    "control_limits": Component.RISK,
    "characteristics": Component.RISK,
    "ladder": Component.RISK,
}
_MONEY = ("order.", "orders.", "trade.")
_THIRD = 3  # dead letters of a component in the window that make it critical


def worst(*statuses: HealthStatus) -> HealthStatus:
    """The worst of some statuses; HEALTHY of none."""
    return max(statuses, key=_ORDER.index, default=HealthStatus.HEALTHY)


@dataclass(frozen=True, slots=True)
class Alarm:
    """A violation on a control chart."""

    session: int
    chart: str
    rule_id: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason for a status of one component."""

    component: Component
    status: HealthStatus
    reason: str


@dataclass(slots=True)
class HealthFacts:
    """Everything heard so far that may still matter."""

    limits: HealthConfig
    max_drawdown: float = 0.20  # of equity, which the limits are fractions of
    alarms: dict[str, Alarm] = field(default_factory=dict)  # not acknowledged, by violation id
    anomalies: list[tuple[int, str, str]] = field(default_factory=list)  # session, symbol, kind
    failures: list[tuple[int, str]] = field(default_factory=list)  # session, evaluation given up
    forgeries: list[tuple[int, str]] = field(default_factory=list)  # session, promotion that nothing stands behind
    dead_orders: list[tuple[int, str]] = field(default_factory=list)  # session, what was dead-lettered
    letters: list[tuple[int, Component, str]] = field(default_factory=list)  # dead letters that moved no money
    faults: list[tuple[int, str]] = field(default_factory=list)  # session, what of the machine failed
    heartbeats: dict[str, int] = field(default_factory=dict)  # by who is watched: the last session it spoke of
    drawdown: float = 0.0
    invariants_ok: bool = True

    def judge(self, session: int) -> dict[Component, Finding]:
        """The worst finding of each component that has one, at the end of `session`."""
        self._forget(session)
        found: dict[Component, Finding] = {}
        for finding in self._findings(session):
            before = found.get(finding.component)
            if before is None or _ORDER.index(finding.status) > _ORDER.index(before.status):
                found[finding.component] = finding
        return found

    def state(self) -> dict[str, Any]:
        """Everything heard, as plain JSON values, for a checkpoint; the limits are configuration."""
        return {
            "alarms": {key: list(astuple(alarm)) for key, alarm in self.alarms.items()},
            "anomalies": [list(anomaly) for anomaly in self.anomalies],
            "failures": [list(failure) for failure in self.failures],
            "forgeries": [list(forgery) for forgery in self.forgeries],
            "dead_orders": [list(dead) for dead in self.dead_orders],
            "letters": [[session, component.value, what] for session, component, what in self.letters],
            "faults": [list(fault) for fault in self.faults],
            "heartbeats": dict(self.heartbeats),
            "drawdown": self.drawdown,
            "invariants_ok": self.invariants_ok,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self.alarms = {key: Alarm(*alarm) for key, alarm in state["alarms"].items()}
        self.anomalies = [(session, symbol, kind) for session, symbol, kind in state["anomalies"]]
        self.failures = [(session, evaluation_id) for session, evaluation_id in state["failures"]]
        self.forgeries = [(session, what) for session, what in state["forgeries"]]
        self.dead_orders = [(session, what) for session, what in state["dead_orders"]]
        self.faults = [(session, what) for session, what in state["faults"]]
        self.letters = [(session, Component(component), what) for session, component, what in state["letters"]]
        self.heartbeats = dict(state["heartbeats"])
        self.drawdown, self.invariants_ok = state["drawdown"], state["invariants_ok"]

    def _forget(self, session: int) -> None:
        oldest = session - self.limits.window
        self.alarms = {key: alarm for key, alarm in self.alarms.items() if alarm.session > oldest}
        self.anomalies = [item for item in self.anomalies if item[0] > oldest]
        self.failures = [item for item in self.failures if item[0] > oldest]
        self.forgeries = [item for item in self.forgeries if item[0] > oldest]
        self.dead_orders = [item for item in self.dead_orders if item[0] > oldest]
        self.letters = [item for item in self.letters if item[0] > oldest]
        self.faults = [item for item in self.faults if item[0] > oldest]

    def _findings(self, session: int) -> Iterator[Finding]:
        limits = self.limits
        critical, degraded = HealthStatus.CRITICAL, HealthStatus.DEGRADED
        if not self.invariants_ok:
            yield Finding(Component.PORTFOLIO, critical, "the books are broken")
        for status, share in ((critical, limits.critical_drawdown), (degraded, limits.degraded_drawdown)):
            level = share * self.max_drawdown
            if self.drawdown >= level:
                yield Finding(Component.PORTFOLIO, status, f"drawdown {self.drawdown:.4f} >= {level:g}")
                break
        for _, what in self.dead_orders:
            yield Finding(Component.EXECUTION, critical, f"dead letter: {what}")
        for component, whats in self._letters_by_component():
            status = critical if len(whats) >= _THIRD else degraded
            yield Finding(component, status, f"dead letters: {', '.join(whats)}")
        for name, last in sorted(self.heartbeats.items()):
            if session - last >= limits.heartbeat_sessions:
                yield Finding(_part_of(name), critical, f"{name} silent for {session - last} sessions")
        yield from self._from_charts()
        for _, symbol, kind in self.anomalies:
            yield Finding(Component.DATA, degraded, f"{kind} in {symbol}")
        for _, what in self.faults:
            yield Finding(Component.RUNTIME, degraded, what)
        for _, what in self.forgeries:
            yield Finding(Component.EVALUATION, degraded, what)
        for _, evaluation_id in self.failures:
            yield Finding(Component.EVALUATION, degraded, f"evaluation {evaluation_id} was given up")

    def dead_letter(self, session: int, event_type: str, subscription: str) -> bool:
        """Take a dead letter of a component of ours; False when it is of somebody else.

        At a component that moves money, or of an event that does, it is money that nobody follows any more.
        """
        component = OURS.get(subscription.partition(".")[0])
        if component is None:
            return False
        what = f"{event_type} at {subscription}"
        if component is Component.EXECUTION or event_type.startswith(_MONEY):
            self.dead_orders.append((session, what))
        else:
            self.letters.append((session, component, what))
        return True

    def _letters_by_component(self) -> list[tuple[Component, list[str]]]:
        found: dict[Component, list[str]] = {}
        for _, component, what in self.letters:
            found.setdefault(component, []).append(what)
        return sorted(found.items())

    def _from_charts(self) -> Iterator[Finding]:
        spoken = [(part, alarm) for alarm in self.alarms.values() if (part := _part(alarm.chart)) is not None]
        outliers = {alarm.chart: part for part, alarm in spoken if alarm.rule_id == _CRITICAL_RULE}
        several = len(outliers) >= self.limits.critical_charts
        for chart in sorted(outliers):
            status = HealthStatus.CRITICAL if several else HealthStatus.DEGRADED
            yield Finding(outliers[chart], status, f"rule 1 on {', '.join(sorted(outliers))}")
        warnings = [part for part, alarm in spoken if alarm.rule_id != _CRITICAL_RULE]
        if len(warnings) >= self.limits.warnings:
            for part in sorted(set(warnings)):
                yield Finding(part, HealthStatus.DEGRADED, f"{len(warnings)} warnings")


def _part_of(name: str) -> Component:
    return PART_OF[Station(name)] if name in Station.__members__ else Component(name)


def _part(chart: str) -> Component | None:
    return CHART_OF.get(chart.partition(".")[0])
