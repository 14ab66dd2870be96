"""Events of monitoring: metrics, control charts and their violations, and the notifications sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from eventbus import Event
from quantum_trader.events.marks import Decision, Operation, Told


class MetricRecordedEvent(Decision, Event, type="monitoring.metric_recorded", key="metric"):
    """A measured value."""

    metric: str
    value: float
    unit: str
    labels: Mapping[str, str] = Field(default_factory=dict)
    clock: Told = "event"
    session: int = 0


class CharacteristicCreatedEvent(Decision, Event, type="spc.characteristic_created", key="characteristic_id"):
    """A control chart exists."""

    characteristic_id: int
    name: str
    settings: Mapping[str, Any] = Field(default_factory=dict)


class CharacteristicUpdatedEvent(Decision, Event, type="spc.characteristic_updated", key="characteristic_id"):
    """Settings of a control chart changed; `changes` holds the new values."""

    characteristic_id: int
    name: str
    changes: Mapping[str, Any] = Field(default_factory=dict)


class CharacteristicDeletedEvent(Decision, Event, type="spc.characteristic_deleted", key="characteristic_id"):
    """A control chart is no more."""

    characteristic_id: int
    name: str


class SampleProcessedEvent(Decision, Event, type="spc.sample_processed", key="characteristic_id"):
    """A point on a control chart and its verdict. `mean` is the charted value, `z` its distance in sigmas."""

    sample_id: int
    characteristic_id: int
    mean: float
    range_value: float | None
    zone: str
    in_control: bool
    chart: str = ""
    centre: float | None = None
    sigma: float | None = None
    z: float | None = None
    phase: str = "MONITOR"
    session: int = 0
    clock: Told = "event"


class ViolationCreatedEvent(Decision, Event, type="spc.violation_created", key="characteristic_id"):
    """The newest point broke a rule; `involved` are the samples that broke it together."""

    violation_id: int | str
    sample_id: int
    characteristic_id: int
    rule_id: Annotated[int, Field(ge=1, le=8)]
    rule_name: str
    severity: str
    chart: str = ""
    involved: tuple[int, ...] = ()
    session: int = 0
    clock: Told = "event"


class ViolationAcknowledgedEvent(Decision, Event, type="spc.violation_acknowledged"):
    """Somebody has seen a violation. With `exclude_samples` its points stay out of the next baseline."""

    violation_id: int | str
    user: str
    reason: str
    exclude_samples: bool = False
    characteristic_id: int | None = None
    clock: Told = "event"


class AcknowledgeRequestedEvent(Decision, Event, type="command.acknowledge"):
    """Somebody wants to acknowledge a violation; the SPC engine knows whether there is one."""

    violation_id: int | str
    user: str
    reason: str
    exclude_samples: bool = False


class CharacteristicRequestedEvent(Decision, Event, type="command.characteristic"):
    """Somebody wants a characteristic added, its settings edited, it removed, or its limits made anew of the newest points."""

    action: Literal["add", "edit", "remove", "rebase"]
    name: str
    user: str
    reason: str
    settings: Mapping[str, Any] = Field(default_factory=dict)


class ControlLimitsUpdatedEvent(Decision, Event, type="spc.limits_updated", key="characteristic_id"):
    """A control chart has new limits, made from `sample_count` points."""

    characteristic_id: int
    center_line: float
    ucl: float
    lcl: float
    method: str = "moving_range"
    sample_count: int = 0
    chart: str = ""
    sigma: float | None = None
    excluded_count: int = 0
    iterations: int = 0
    clock: Told = "event"


class AlertThresholdExceededEvent(Decision, Event, type="spc.alert_threshold_exceeded", key="characteristic_id"):
    """A metric that is watched by thresholds, not by a chart, crossed one."""

    characteristic_id: int
    metric: str
    value: float
    threshold: float
    session: int = 0


class NotificationSentEvent(Operation, Event, type="notification.sent", key="channel"):
    """A notification reached its channel; `status` is the answer's code, 0 for a dry run."""

    channel: str
    dedupe_key: str
    attempts: int
    status: int


class NotificationFailedEvent(Operation, Event, type="notification.failed", key="channel"):
    """A notification was given up."""

    channel: str
    dedupe_key: str
    attempts: int
    status: int
    reason: str
