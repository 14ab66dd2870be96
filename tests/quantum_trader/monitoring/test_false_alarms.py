"""How often the charts cry wolf on normal data, simulated with the shipped rules and limits.

Alarms per 1,000 points, the design's figure and (ours). Its baselines kept every point; with the exclusion that the
product applies, the last bracket, the limits are a little tighter and cry wolf more often. With the zone rules asking the
newest point to be beyond itself, the design has one figure left for them, that of known limits; the others are ours.

    rules    known         from 250            from 100            from 50             from 25
    1        2.7 (2.7)     3.2 (3.2) (3.7)     3.9 (4.0) (4.5)     4.5 (5.2) (6.3)     9.0 (9.1) (10.7)
    1,2      6.6 (6.7)     7.3 (7.3) (7.7)     8.9 (8.6) (9.2)     10.1 (10.7) (11.8)  16.4 (17.4) (19.2)
    1,2,5,6  12.5 (12.8)   (14.2) (15.3)       (16.4) (17.8)       (21.0) (23.2)       (32.5) (35.5)
    all      (23.5)        (24.3) (25.0)       (27.1) (28.3)       (33.5) (35.5)       (46.7) (49.7)

    rules    mean run to first alarm    delay at a shift of 1 sigma / 2 sigma
    1        373 (367)                  43.6 (44.0) / 6.4 (6.3)
    1,2      215 (215)                  15.7 (16.0) / 4.9 (4.9)
    1,2,5,6  114 (111)                  9.3 (9.0) / 3.0 (2.9)
    all      77 (76)                    8.5 (8.8) / 2.9 (2.9)
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from quantum_trader.monitoring.limits import MovingRange, settle
from quantum_trader.monitoring.rules import BY_ID, LONGEST, breaches

pytestmark = pytest.mark.slow

SETS = (frozenset({1}), frozenset({1, 2}), frozenset({1, 2, 5, 6}), frozenset(BY_ID))
KNOWN = (2.7, 6.6, 12.5, 23.5)
ESTIMATED = {
    250: (3.2, 7.3, 14.2, 24.3),
    100: (3.9, 8.9, 16.4, 27.1),
    50: (4.5, 10.1, 21.0, 33.5),
    25: (9.0, 16.4, 32.5, 46.7),
}
RUN_LENGTH = (373, 215, 114, 77)
DELAY = {1.0: (43.6, 15.7, 9.3, 8.5), 2.0: (6.4, 4.9, 3.0, 2.9)}

BASELINES = 2_000
MONITORED = 200  # points judged by the limits of each baseline


def alarms_per_thousand(z: list[float]) -> npt.NDArray[np.float64]:
    """For each rule set, how many of 1,000 points break one of its rules."""
    broken = [
        {breach.rule.id for breach in breaches(z[max(0, end - LONGEST) : end], SETS[-1])}
        for end in range(1, len(z) + 1)
    ]
    rates: npt.NDArray[np.float64] = np.mean([[bool(found & rules) for rules in SETS] for found in broken], axis=0)
    return 1000 * rates


@cache
def alarms_from_baselines(size: int, *, exclude: bool) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(size)
    found = []
    for _ in range(BASELINES):
        values = rng.standard_normal(size + MONITORED).tolist()
        limits = settle([(value,) for value in values[:size]], MovingRange(), exclude=exclude)
        found.append(alarms_per_thousand([limits.z(value) for value in values[size:]]))
    rates: npt.NDArray[np.float64] = np.mean(found, axis=0)
    return rates


def mean_run(rules: frozenset[int], *, shift: float, before: int, runs: int) -> float:
    """Mean number of points to the first alarm after a shift, `before` points having been in control."""
    rng = np.random.default_rng(3)
    total = 0
    for _ in range(runs):
        z = rng.standard_normal(before).tolist()
        while True:
            total += 1
            z.append(rng.standard_normal() + shift)
            del z[:-LONGEST]
            if breaches(z, rules):
                break
    return total / runs


@pytest.mark.long
def test_known_limits_alarm_as_often_as_theory_says() -> None:
    measured = alarms_per_thousand(np.random.default_rng(16).standard_normal(2_000_000).tolist())
    assert measured == pytest.approx(KNOWN, rel=0.03)
    assert measured[2] == pytest.approx(12.5, abs=0.5)


@pytest.mark.parametrize("size", [25, *(pytest.param(size, marks=pytest.mark.long) for size in (50, 100, 250))])
def test_estimated_limits_alarm_more_often_the_shorter_the_baseline(size: int) -> None:
    assert alarms_from_baselines(size, exclude=False) == pytest.approx(ESTIMATED[size], rel=0.18)


@pytest.mark.parametrize("size", [25, pytest.param(250, marks=pytest.mark.long)])
def test_excluding_points_of_a_clean_baseline_costs_a_few_false_alarms(size: int) -> None:
    kept, excluded = alarms_from_baselines(size, exclude=False), alarms_from_baselines(size, exclude=True)
    assert np.all(excluded > kept)
    assert np.all(excluded < 1.25 * kept)


@pytest.mark.parametrize("chosen", range(len(SETS)))
def test_more_rules_alarm_sooner_on_noise_and_hardly_sooner_on_a_shift(chosen: int) -> None:
    assert mean_run(SETS[chosen], shift=0, before=0, runs=1_500) == pytest.approx(RUN_LENGTH[chosen], rel=0.08)
    for shift, delays in DELAY.items():
        assert mean_run(SETS[chosen], shift=shift, before=15, runs=2_000) == pytest.approx(delays[chosen], rel=0.08)
