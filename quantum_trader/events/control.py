"""Events of policy and health: the posture chosen, the kill switch, what people command, how components fare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import Field

from eventbus import Event, Kind
from quantum_trader.events.marks import Decision, Fraction, Told
from quantum_trader.events.run import SessionClosedEvent
from quantum_trader.model import HealthStatus, KillMode, RiskMode, Station


class PolicyUpdatedEvent(Decision, Event, type="policy.updated", kind=Kind.CONTROL, retain=True):
    """The meta strategy controller chose a new risk posture. Fractions are of equity."""

    risk_mode: RiskMode
    allowed_strategies: Sequence[str]
    global_min_confidence: Fraction
    max_risk_per_trade: Fraction
    max_positions: Annotated[int, Field(ge=0)]  # symbols
    updated_by: str = "MSC_AI"
    version: int = 0
    gross_limit: Annotated[float, Field(ge=0.0)] = 1.0
    top_n: Annotated[int, Field(ge=0)] = 5
    session: int = 0
    effective_session: int = 0
    reasons: tuple[str, ...] = ()


class KillSwitchChangedEvent(Decision, Event, type="killswitch.changed", kind=Kind.CONTROL, retain=True):
    """Trading was stopped, restricted to reductions, or allowed again. `latched`: only a command clears it."""

    mode: KillMode
    reason: str
    actor: str
    latched: bool = False
    session: int = 0


class KillSwitchRequestedEvent(Decision, Event, type="command.killswitch", kind=Kind.CONTROL):
    """Somebody asks for another mode of the kill switch.

    `latch` makes the mode stay until a request with `force` clears it; a stricter mode needs no force.
    """

    mode: KillMode
    reason: str
    actor: str
    latch: bool = False
    force: bool = False
    session: int = 0


class PolicyOverrideRequestedEvent(Decision, Event, type="command.policy", kind=Kind.CONTROL):
    """Somebody asks for a risk mode for a while. It can only be more defensive than the policy, unless `force`.

    With `block_entries` no strategy is allowed until a request with `force`.
    """

    risk_mode: RiskMode
    reason: str
    actor: str
    force: bool = False
    block_entries: bool = False


class HealthStatusChangedEvent(
    Decision, Event, type="health.status_changed", kind=Kind.CONTROL, key="component", retain=True
):
    """A component's status changed; `overall_new` is the worst of all components."""

    old_status: HealthStatus
    new_status: HealthStatus
    component: str
    reason: str
    metrics: Mapping[str, Any] = Field(default_factory=dict)
    overall_old: HealthStatus | None = None
    overall_new: HealthStatus | None = None
    session: int = 0
    clock: Told = "event"

    @property
    def overall(self) -> HealthStatus:
        """The worst status there is: what decisions go by."""
        return self.new_status if self.overall_new is None else self.overall_new


class ComponentHeartbeatEvent(Decision, Event, type="component.heartbeat", key="component"):
    """A component has finished with `session`; `state_version` is the version of what it governs, if anything."""

    component: str
    session: int
    state_version: int = 0

    @classmethod
    def after(cls, closed: SessionClosedEvent, station: Station, source: str, **header: Any) -> Self:
        """`station` has done its part of the session that `closed` closed, which led to this. `header` goes to the event."""
        return cls(
            component=station.value,
            session=closed.session,
            timestamp=closed.timestamp,
            source=source,
            correlation_id=closed.correlation_id,
            causation_id=closed.event_id,
            **header,
        )


Alive = Callable[[Station, str], None]
"""How a component says that it has finished with the session being closed; with the source of its events."""


def unwatched(_station: Station, _source: str) -> None:
    """For a component whose heartbeat nobody waits for."""
