"""Rules: Nelson's eight tests for special causes, judged on the newest point of a control chart.

Whoever holds standardised values, z = (x - centre) / sigma, asks here; limits, baselines and events are not known.
Equality never alarms: a value on a limit is in control, on the centre it has no side, beside an equal one no direction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

# Two floats this close are one value: z is a quotient, so a point set exactly on a limit may miss it by an ulp.
TIE: Final = 1e-9


class Severity(StrEnum):
    """How urgent a violation of a chart is."""

    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class Zone(StrEnum):
    """Where a point lies, counted in sigmas from the centre: C below 1, B from 1, A from 2 to 3, then beyond."""

    BEYOND_UPPER = "beyond_upper"
    A_UPPER = "zone_a_upper"
    B_UPPER = "zone_b_upper"
    C_UPPER = "zone_c_upper"
    C_LOWER = "zone_c_lower"
    B_LOWER = "zone_b_lower"
    A_LOWER = "zone_a_lower"
    BEYOND_LOWER = "beyond_lower"


_UPPER: Final = (Zone.C_UPPER, Zone.B_UPPER, Zone.A_UPPER, Zone.BEYOND_UPPER)
_LOWER: Final = (Zone.C_LOWER, Zone.B_LOWER, Zone.A_LOWER, Zone.BEYOND_LOWER)

# Gets the newest `window` values, oldest first; returns the positions that break the rule, none if it holds.
Check = Callable[[Sequence[float]], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One test. `window` is the number of points it looks at, the newest included."""

    id: int
    name: str
    severity: Severity
    window: int
    check: Check


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule that the newest point broke. `involved` counts back from it: 0 is the newest point, 1 the one before."""

    rule: Rule
    involved: tuple[int, ...]


def zone(z: float) -> Zone:
    """The zone of a point `z` sigmas from the centre; the centre itself counts as upper. Raises ValueError on NaN."""
    if math.isnan(z):
        raise ValueError("z is not a number: a chart without limits has no zones")
    size = abs(z)
    step = 3 if size > 3 + TIE else min(2, int(size + TIE))
    return (_UPPER if z >= 0 else _LOWER)[step]


def breaches(z: Sequence[float], enabled: Collection[int]) -> tuple[Breach, ...]:
    """The `enabled` rules that the last value of `z` breaks, in order of their number.

    `z` is oldest first and must come from one set of limits; 15 values are enough for every rule. A rule whose window
    is longer than `z` holds. Source: L. S. Nelson, "The Shewhart control chart - tests for special causes", J. Quality
    Technology 16 (1984).
    """
    found = []
    for rule in RULES:
        if rule.id in enabled and len(z) >= rule.window:
            positions = rule.check(z[-rule.window :])
            if positions:
                found.append(Breach(rule, tuple(rule.window - 1 - position for position in positions)))
    return tuple(found)


def rule_set(ids: Iterable[int]) -> frozenset[int]:
    """`ids` as a set of rule numbers; raises ValueError when one is not a rule."""
    chosen = frozenset(ids)
    unknown = sorted(chosen - BY_ID.keys())
    if unknown:
        raise ValueError(f"rules: {unknown} are not rules; choose from {sorted(BY_ID)}")
    return chosen


def _beyond(level: float, needed: int) -> Check:
    """At least `needed` points beyond `level` sigmas on the side of the newest, which is one of them."""

    def check(z: Sequence[float]) -> Sequence[int]:
        edge, newest = level + TIE, z[-1]
        if newest > edge:
            beyond = [at for at, value in enumerate(z) if value > edge]
        elif newest < -edge:
            beyond = [at for at, value in enumerate(z) if value < -edge]
        else:
            return ()
        return beyond if len(beyond) >= needed else ()

    return check


def _shift(z: Sequence[float]) -> Sequence[int]:
    return range(len(z)) if min(z) > TIE or max(z) < -TIE else ()


def _trend(z: Sequence[float]) -> Sequence[int]:
    rises = [b - a for a, b in pairwise(z)]
    return range(len(z)) if min(rises) > TIE or max(rises) < -TIE else ()


def _alternation(z: Sequence[float]) -> Sequence[int]:
    direction = 1.0 if z[1] > z[0] else -1.0
    for a, b in pairwise(z):
        if (b - a) * direction <= TIE:
            return ()
        direction = -direction
    return range(len(z))


def _stratification(z: Sequence[float]) -> Sequence[int]:
    return range(len(z)) if max(z) < 1 - TIE and min(z) > -1 + TIE else ()


def _mixture(z: Sequence[float]) -> Sequence[int]:
    outside = all(abs(value) > 1 + TIE for value in z)
    return range(len(z)) if outside and min(z) < 0 < max(z) else ()


RULES: Final = (
    Rule(1, "Outlier", Severity.CRITICAL, 1, _beyond(3, 1)),
    Rule(2, "Shift", Severity.WARNING, 9, _shift),
    Rule(3, "Trend", Severity.WARNING, 6, _trend),
    Rule(4, "Alternation", Severity.WARNING, 14, _alternation),
    Rule(5, "Zone A", Severity.WARNING, 3, _beyond(2, 2)),
    Rule(6, "Zone B", Severity.WARNING, 5, _beyond(1, 4)),
    Rule(7, "Stratification", Severity.WARNING, 15, _stratification),
    Rule(8, "Mixture", Severity.WARNING, 8, _mixture),
)
BY_ID: Final = {rule.id: rule for rule in RULES}
LONGEST: Final = max(rule.window for rule in RULES)
