"""Charts: the control charts of a run as they are drawn: points, limits, broken rules, and who acknowledged them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from quantum_trader.events import (
    CharacteristicCreatedEvent,
    CharacteristicDeletedEvent,
    CharacteristicUpdatedEvent,
    ControlLimitsUpdatedEvent,
    SampleProcessedEvent,
    ViolationAcknowledgedEvent,
    ViolationCreatedEvent,
)
from quantum_trader.web.folding import Hearing

KEPT: Final = 500
"""Newest points of a chart."""
VIOLATIONS: Final = 100
SPARK: Final = 60  # points that a list of charts shows of each


@dataclass(slots=True)
class _Drawn:
    characteristic_id: int
    name: str
    settings: dict[str, Any]
    phase: str = "BASELINE"
    points: deque[tuple[Any, ...]] = field(default_factory=lambda: deque(maxlen=KEPT))
    limits: list[dict[str, Any]] = field(default_factory=list)
    violations: dict[str, dict[str, Any]] = field(default_factory=dict)
    total: int = 0

    @property
    def open(self) -> int:
        return sum(one["acknowledged_by"] is None for one in self.violations.values())


class Charts:
    """By the id of their characteristic."""

    def __init__(self) -> None:
        self._drawn: dict[int, _Drawn] = {}
        self.violations = 0

    def hears(self) -> Hearing:
        return {
            CharacteristicCreatedEvent: self._created,
            CharacteristicUpdatedEvent: self._updated,
            CharacteristicDeletedEvent: self._deleted,
            SampleProcessedEvent: self._sampled,
            ViolationCreatedEvent: self._broken,
            ViolationAcknowledgedEvent: self._acknowledged,
            ControlLimitsUpdatedEvent: self._limited,
        }

    def view(self) -> dict[str, Any]:
        """All of them, those with open violations first, each with its newest points."""
        rows = [
            {
                "id": one.characteristic_id,
                "name": one.name,
                "method": one.settings.get("type"),
                "phase": one.phase,
                "points": one.total,
                "violations": len(one.violations),
                "open": one.open,
                "limits": one.limits[-1] if one.limits else None,
                "recent": [list(point) for point in list(one.points)[-SPARK:]],
            }
            for one in self._drawn.values()
        ]
        rows.sort(key=lambda row: (row["open"] == 0, row["points"] == 0, row["id"]))
        return {"rows": rows, "open": sum(row["open"] for row in rows)}

    def ids(self) -> Iterator[int]:
        """Which there are."""
        return iter(tuple(self._drawn))

    def chart(self, characteristic_id: int) -> dict[str, Any]:
        """One of them: sample id, session, value, z, zone, in control, date of each point. Raises LookupError."""
        one = self._drawn[characteristic_id]
        return {
            "id": one.characteristic_id,
            "name": one.name,
            "settings": one.settings,
            "phase": one.phase,
            "points": [list(point) for point in one.points],
            "limits": one.limits[-20:],
            "violations": list(one.violations.values()),
            "open": one.open,
        }

    def is_open(self, violation_id: str) -> bool | None:
        """Whether nobody has acknowledged it; None when there is none of that id."""
        for one in self._drawn.values():
            found = one.violations.get(violation_id)
            if found is not None:
                return found["acknowledged_by"] is None
        return None

    def _created(self, event: CharacteristicCreatedEvent) -> None:
        if event.settings.get("type") != "thresholds":
            self._drawn[event.characteristic_id] = _Drawn(event.characteristic_id, event.name, dict(event.settings))

    def _updated(self, event: CharacteristicUpdatedEvent) -> None:
        if event.characteristic_id in self._drawn:
            self._drawn[event.characteristic_id].settings |= event.changes

    def _deleted(self, event: CharacteristicDeletedEvent) -> None:
        self._drawn.pop(event.characteristic_id, None)

    def _sampled(self, event: SampleProcessedEvent) -> None:
        one = self._drawn.get(event.characteristic_id)
        if one is None:
            return
        one.total += 1
        one.phase = event.phase
        z = None if event.z is None else round(event.z, 3)
        verdict = (z, event.zone, event.in_control)
        one.points.append(
            (event.sample_id, event.session, float(f"{event.mean:.5g}"), *verdict, event.timestamp.date().isoformat())
        )

    def _broken(self, event: ViolationCreatedEvent) -> None:
        one = self._drawn.get(event.characteristic_id)
        if one is None:
            return
        self.violations += 1
        one.violations[str(event.violation_id)] = {
            "id": str(event.violation_id),
            "event_id": event.event_id,
            "sample_id": event.sample_id,
            "date": event.timestamp.date().isoformat(),
            "session": event.session,
            "rule_id": event.rule_id,
            "rule": event.rule_name,
            "severity": event.severity,
            "acknowledged_by": None,
            "reason": None,
        }
        if len(one.violations) > VIOLATIONS:
            del one.violations[next(iter(one.violations))]

    def _acknowledged(self, event: ViolationAcknowledgedEvent) -> None:
        for one in self._drawn.values():
            found = one.violations.get(str(event.violation_id))
            if found is not None:
                found |= {"acknowledged_by": event.user, "reason": event.reason}

    def _limited(self, event: ControlLimitsUpdatedEvent) -> None:
        one = self._drawn.get(event.characteristic_id)
        if one is None:
            return
        first = one.points[-1][0] + 1 if one.points else 0
        one.limits.append(
            {"from": first, "centre": event.center_line, "ucl": event.ucl, "lcl": event.lcl, "sigma": event.sigma}
        )
