from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.monitoring.rules import BY_ID, LONGEST, RULES, Severity, Zone, breaches, rule_set, zone

ALL = frozenset(BY_ID)


def broken(z: list[float], enabled: frozenset[int] = ALL) -> list[int]:
    return [breach.rule.id for breach in breaches(z, enabled)]


def test_names_and_severities_are_those_people_already_know() -> None:
    assert {rule.id: rule.name for rule in RULES} == {
        1: "Outlier",
        2: "Shift",
        3: "Trend",
        4: "Alternation",
        5: "Zone A",
        6: "Zone B",
        7: "Stratification",
        8: "Mixture",
    }
    assert [rule.id for rule in RULES if rule.severity is Severity.CRITICAL] == [1]
    assert LONGEST == 15


@pytest.mark.parametrize(
    ("z", "name"),
    [
        (0.0, "zone_c_upper"),
        (0.99, "zone_c_upper"),
        (1.0, "zone_b_upper"),
        (2.0, "zone_a_upper"),
        (3.0, "zone_a_upper"),
        (3.01, "beyond_upper"),
        (-0.01, "zone_c_lower"),
        (-1.5, "zone_b_lower"),
        (-2.5, "zone_a_lower"),
        (-3.0, "zone_a_lower"),
        (-99.0, "beyond_lower"),
    ],
)
def test_zones_are_counted_from_the_centre(z: float, name: str) -> None:
    assert zone(z) == name


def test_a_value_that_is_not_a_number_has_no_zone() -> None:
    with pytest.raises(ValueError, match="not a number"):
        zone(math.nan)


# Each series breaks exactly one rule with its last value, and none before.
BREAKING = {
    1: [0.5, 3.1],
    2: [0.4, 0.2, 0.5, 0.3, 0.1, 0.2, 0.4, 0.3, 0.6],
    3: [-0.9, -0.5, -0.1, 0.1, 0.3, 0.6],
    4: [1.5, -0.2, 0.3, -0.5, 0.2, -0.3, 0.4, -0.2, 0.3, -0.4, 0.2, -0.1, 0.3, -0.2],
    5: [2.1, 0.5, 2.2],
    6: [1.1, 1.2, 0.3, 1.3, 1.4],
    7: [-0.9, -0.6, 0.5, 0.4, -0.5, -0.4, 0.6, 0.3, -0.2, 0.1, 0.8, -0.7, -0.5, 0.2, 0.3],
    8: [1.1, -1.2, -1.3, 1.4, 1.2, -1.1, -1.3, 1.4],
}


@pytest.mark.parametrize("rule", sorted(BREAKING))
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_each_rule_fires_on_the_point_that_completes_its_pattern(rule: int, side: float) -> None:
    z = [side * value for value in BREAKING[rule]]
    assert broken(z) == [rule]
    assert broken(z[:-1]) == []


@pytest.mark.parametrize("rule", sorted(BREAKING))
def test_a_disabled_rule_is_silent(rule: int) -> None:
    assert broken(BREAKING[rule], ALL - {rule}) == []


@pytest.mark.parametrize("rule", sorted(BREAKING))
def test_a_window_that_is_not_full_holds(rule: int) -> None:
    short = BREAKING[rule][-(BY_ID[rule].window - 1) :] if BY_ID[rule].window > 1 else []
    assert broken(short, frozenset({rule})) == []


def test_equality_on_a_limit_is_in_control() -> None:
    assert broken([3.0]) == []
    assert broken([-3.0]) == []
    assert broken([2.0, 2.0, 0.1], frozenset({5})) == []
    assert broken([1.0] * 5, frozenset({6})) == []
    assert broken([1.0] * 15, frozenset({7})) == []
    assert broken([1.0, -1.0] * 4, frozenset({8})) == []


def test_a_point_placed_on_a_limit_by_arithmetic_is_in_control() -> None:
    centre, sigma = 0.1, 0.2
    assert (centre + 3 * sigma - centre) / sigma > 3, "the quotient misses the limit by an ulp"
    assert broken([(centre + 3 * sigma - centre) / sigma]) == []


def test_a_point_on_the_centre_breaks_a_shift() -> None:
    assert broken([0.5] * 4 + [0.0] + [0.5] * 4, frozenset({2})) == []
    assert broken([0.0] * 9, frozenset({2})) == []


def test_an_equal_neighbour_breaks_trend_and_alternation() -> None:
    assert broken([0.0, 0.1, 0.2, 0.2, 0.3, 0.4], frozenset({3})) == []
    z = list(BREAKING[4])
    z[6] = z[5]
    assert broken(z, frozenset({4})) == []


def test_zone_rules_need_one_side() -> None:
    assert broken([2.5, -2.5], frozenset({5})) == []
    assert broken([1.5, -1.5, 1.5, -1.5, 1.5], frozenset({6})) == []


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize(
    ("rule", "z"), [(5, [2.1, 2.2, 0.5]), (5, [2.1, 2.2, -2.5]), (6, [1.1, 1.2, 1.3, 1.4, 0.3])], ids=str
)
def test_a_zone_rule_needs_the_newest_point_beyond(rule: int, z: list[float], side: float) -> None:
    assert broken([side * value for value in z], frozenset({rule})) == []


def test_mixture_needs_both_sides() -> None:
    assert broken([1.5] * 8, frozenset({8})) == []


def test_involved_points_are_counted_back_from_the_newest() -> None:
    (breach,) = breaches([0.0, 2.1, 0.5, 2.2], {5})
    assert breach.involved == (2, 0)
    (breach,) = breaches(BREAKING[2], {2})
    assert breach.involved == (8, 7, 6, 5, 4, 3, 2, 1, 0)


def test_a_number_that_is_no_rule_is_named() -> None:
    with pytest.raises(ValueError, match=r"rules: \[0, 9\] are not rules"):
        rule_set([1, 9, 0])
    assert rule_set([1, 2]) == {1, 2}


@given(st.lists(st.floats(-5, 5), max_size=40))
def test_a_mirrored_series_breaks_the_same_rules(z: list[float]) -> None:
    assert broken(z) == broken([-value for value in z])


@given(st.lists(st.floats(-5, 5), max_size=40))
def test_only_the_newest_fifteen_points_matter(z: list[float]) -> None:
    assert broken(z) == broken(z[-LONGEST:])


def test_a_series_that_never_moves_off_centre_breaks_nothing_but_stratification() -> None:
    assert broken([0.0] * 20) == [7]


def test_zone_members_equal_their_string() -> None:
    assert Zone.C_UPPER.value == "zone_c_upper"
    assert Zone("beyond_lower") is Zone.BEYOND_LOWER
