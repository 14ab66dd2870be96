"""Chart: one control chart over time: collect a baseline, freeze limits, judge points, make a new baseline.

The SPC engine feeds it and publishes what comes back; storing, acknowledging and drawing happen elsewhere.
A run of points never straddles two sets of limits: after a new baseline the rules start to count anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from quantum_trader.monitoring.limits import MIN_KEPT, Limits, Method, Point, settle
from quantum_trader.monitoring.rules import BY_ID, LONGEST, Rule, Zone, breaches, rule_set, zone

RECENT: Final = 25  # samples kept for whoever draws the chart
MIN_BASELINE: Final = 10  # points; 50 and more are advised: 25 already triple the rate of false alarms


class Phase(StrEnum):
    """What a chart can say: nothing yet, a verdict, or nothing because its baseline never moved."""

    BASELINE = "BASELINE"
    MONITOR = "MONITOR"
    NO_VARIATION = "NO_VARIATION"


class BaselineTooShort(ValueError):
    """Too few points, excluded ones not counted, for new limits. Wait for `needed` of them, or exclude fewer."""

    def __init__(self, chart: str, points: int, needed: int) -> None:
        super().__init__(f"{chart}: {points} usable points, {needed} are needed; wait for more or exclude fewer")
        self.chart = chart
        self.points = points
        self.needed = needed


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule broken by the newest sample; `involved` are the ids of the samples that broke it together."""

    rule: Rule
    involved: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One point and the verdict on it. Without limits `z` and `zone` are None and the point counts as in control.

    `value` is the charted statistic, `spread` its range (None on a p chart and for the first individual value).
    `limits` are those that the point was judged by. `in_control` means that it broke no enabled rule.
    """

    sample_id: int
    value: float
    spread: float | None
    phase: Phase
    limits: Limits | None = None
    z: float | None = None
    zone: Zone | None = None
    violations: tuple[Violation, ...] = ()

    @property
    def in_control(self) -> bool:
        return not self.violations


@dataclass(frozen=True, slots=True)
class ChartSpec:
    """What a chart is: its method, `baseline` points before limits are frozen, new limits every `rebase` points (None:
    on command only), the enabled `rules`. Raises ValueError naming the field that cannot be used."""

    name: str
    method: Method
    baseline: int
    rebase: int | None
    rules: frozenset[int]

    def __post_init__(self) -> None:
        if self.baseline < MIN_BASELINE:
            raise ValueError(f"{self.name}: baseline: {self.baseline} points are too few, use at least {MIN_BASELINE}")
        if self.rebase is not None and self.rebase < 1:
            raise ValueError(f"{self.name}: rebase: {self.rebase} points, use 1 or more, or leave it out")
        rule_set(self.rules)


class Chart:
    """A control chart. `add` takes a whole point, `gather` single observations; both answer with a judged `Sample`."""

    def __init__(self, spec: ChartSpec) -> None:
        self.spec = spec
        self.limits: Limits | None = None
        self.version = 0  # how often limits were set
        self.recent: deque[Sample] = deque(maxlen=RECENT)
        self._points: deque[tuple[int, Point]] = deque(maxlen=spec.baseline)
        self._excluded: set[int] = set()
        self._run: list[float] = []  # z of the newest points, all by the present limits
        self._gathered: list[float] = []
        self._next_id = 0
        self._since = 0  # points since limits were set

    @property
    def phase(self) -> Phase:
        if self.limits is None:
            return Phase.BASELINE
        return Phase.MONITOR if self.limits.sigma > 0 else Phase.NO_VARIATION

    def gather(self, observation: float) -> Sample | None:
        """Take one observation; a sample when it completes a point, else None. For a p chart it is 1 or 0."""
        self._gathered.append(observation)
        if len(self._gathered) < self.spec.method.size:
            return None
        gathered, self._gathered = self._gathered, []
        return self.add(*self.spec.method.point(gathered))

    def add(self, *point: float) -> Sample:
        """Judge one point: a value, a whole subgroup, or (nonconforming, size); anything else is a ValueError."""
        try:
            self.spec.method.check(point)
        except ValueError as error:
            raise ValueError(f"{self.spec.name}: {error}") from error
        sample = self._judged(point)
        self.recent.append(sample)
        self._points.append((sample.sample_id, point))
        self._next_id += 1
        self._since += 1
        if self._is_due() and len(self._usable()) >= self._needed:
            self._set_limits()
        return sample

    def rebase(self) -> Limits:
        """New limits from the newest `baseline` points, now. Raises BaselineTooShort when too few are usable."""
        usable = len(self._usable())
        if usable < self._needed:
            raise BaselineTooShort(self.spec.name, usable, self._needed)
        return self._set_limits()

    def exclude(self, sample_ids: Iterable[int]) -> None:
        """Leave samples out of the next baseline. Present limits stay; samples no longer remembered are passed over."""
        self._excluded |= {sample_id for sample_id, _ in self._points} & set(sample_ids)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "limits": None if self.limits is None else asdict(self.limits),
            "version": self.version,
            "recent": [_plain(sample) for sample in self.recent],
            "points": [[sample_id, list(point)] for sample_id, point in self._points],
            "excluded": sorted(self._excluded),
            "run": list(self._run),
            "gathered": list(self._gathered),
            "next_id": self._next_id,
            "since": self._since,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become the chart that `state()` described; its spec must be the same."""
        self.limits = _limits(state["limits"])
        self.version = state["version"]
        self.recent = deque(map(_sample, state["recent"]), maxlen=RECENT)
        self._points = deque(
            ((sample_id, tuple(point)) for sample_id, point in state["points"]), maxlen=self.spec.baseline
        )
        self._excluded = set(state["excluded"])
        self._run = list(state["run"])
        self._gathered = list(state["gathered"])
        self._next_id = state["next_id"]
        self._since = state["since"]

    @property
    def _needed(self) -> int:
        return max(2, round(MIN_KEPT * self.spec.baseline))

    def _usable(self) -> list[Point]:
        return [point for sample_id, point in self._points if sample_id not in self._excluded]

    def _is_due(self) -> bool:
        if self.limits is None:
            return len(self._points) == self.spec.baseline
        return self.spec.rebase is not None and self._since >= self.spec.rebase

    def _set_limits(self) -> Limits:
        self.limits = settle(self._usable(), self.spec.method)
        self.version += 1
        self._since = 0
        self._run.clear()
        self._excluded &= {sample_id for sample_id, _ in self._points}
        return self.limits

    def _judged(self, point: Point) -> Sample:
        method, sample_id = self.spec.method, self._next_id
        value = method.statistic(point)
        spread = method.spread(point, self._points[-1][1] if self._points else None)
        if self.limits is None or self.phase is Phase.NO_VARIATION:
            return Sample(sample_id, value, spread, self.phase, self.limits)
        limits = method.applied(self.limits, point)
        z = limits.z(value)
        self._run.append(z)
        del self._run[:-LONGEST]
        violations = tuple(
            Violation(breach.rule, tuple(sample_id - back for back in breach.involved))
            for breach in breaches(self._run, self.spec.rules)
        )
        return Sample(sample_id, value, spread, Phase.MONITOR, limits, z, zone(z), violations)


def _plain(sample: Sample) -> dict[str, Any]:
    return {
        "sample_id": sample.sample_id,
        "value": sample.value,
        "spread": sample.spread,
        "phase": sample.phase.value,
        "limits": None if sample.limits is None else asdict(sample.limits),
        "z": sample.z,
        "zone": None if sample.zone is None else sample.zone.value,
        "violations": [[violation.rule.id, list(violation.involved)] for violation in sample.violations],
    }


def _sample(plain: Mapping[str, Any]) -> Sample:
    return Sample(
        sample_id=plain["sample_id"],
        value=plain["value"],
        spread=plain["spread"],
        phase=Phase(plain["phase"]),
        limits=_limits(plain["limits"]),
        z=plain["z"],
        zone=None if plain["zone"] is None else Zone(plain["zone"]),
        violations=tuple(Violation(BY_ID[rule], tuple(involved)) for rule, involved in plain["violations"]),
    )


def _limits(plain: Mapping[str, Any] | None) -> Limits | None:
    return None if plain is None else Limits(**plain)
