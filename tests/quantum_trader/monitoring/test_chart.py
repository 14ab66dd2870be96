from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.monitoring.chart import RECENT, BaselineTooShort, Chart, ChartSpec, Phase, Sample
from quantum_trader.monitoring.limits import MovingRange, Proportion, SubgroupRange

QUIET = [math.sin(2 * at) for at in range(400)]


def individuals(*, baseline: int = 50, rebase: int | None = 100, rules: tuple[int, ...] = (1, 2, 5, 6)) -> Chart:
    return Chart(ChartSpec("pred.log_range", MovingRange(), baseline, rebase, frozenset(rules)))


def fed(chart: Chart, *values: float) -> list[Sample]:
    return [chart.add(value) for value in values]


def test_no_rule_is_evaluated_while_the_baseline_is_collected() -> None:
    chart = individuals()
    samples = fed(chart, *QUIET[:40], 1e6)
    assert all(sample.in_control and sample.z is None and sample.zone is None for sample in samples)
    assert {sample.phase for sample in samples} == {Phase.BASELINE}
    assert chart.limits is None


def test_limits_freeze_when_the_baseline_is_full() -> None:
    chart = individuals()
    fed(chart, *QUIET[:50])
    assert chart.phase is Phase.MONITOR
    frozen = chart.limits
    fed(chart, *QUIET[50:80])
    assert chart.limits is frozen
    assert chart.version == 1


def test_an_outlier_is_out_of_control() -> None:
    chart = individuals()
    fed(chart, *QUIET[:60])
    sample = chart.add(50.0)
    assert not sample.in_control
    assert [(violation.rule.id, violation.involved) for violation in sample.violations] == [(1, (60,))]
    assert sample.zone == "beyond_upper"
    assert sample.z is not None
    assert sample.z > 3
    assert sample.limits is chart.limits
    assert sample.spread == pytest.approx(50.0 - QUIET[59])


def test_a_shift_names_the_nine_samples_that_made_it() -> None:
    chart = individuals(rules=(2,))
    fed(chart, *QUIET[:50])
    assert chart.limits is not None
    up = chart.limits.centre + 0.5 * chart.limits.sigma
    down = chart.limits.centre - 0.5 * chart.limits.sigma
    samples = fed(chart, down, *[up] * 9)
    assert [len(sample.violations) for sample in samples] == [0] * 9 + [1]
    assert samples[-1].violations[0].involved == tuple(range(51, 60))


def test_a_run_does_not_straddle_two_sets_of_limits() -> None:
    chart = individuals(rules=(2,), rebase=None)
    fed(chart, *QUIET[:50])
    assert chart.limits is not None
    up = chart.limits.centre + 0.5 * chart.limits.sigma
    fed(chart, *[up] * 8)
    chart.rebase()
    assert chart.add(chart.limits.centre + chart.limits.sigma).in_control


def test_limits_are_renewed_every_rebase_points_from_the_newest_ones() -> None:
    chart = individuals(baseline=50, rebase=100)
    fed(chart, *QUIET[:50])
    before = chart.limits
    fed(chart, *[value + 5 for value in QUIET[50:149]])
    assert chart.limits is before
    chart.add(QUIET[149] + 5)
    assert chart.version == 2
    assert chart.limits is not None
    assert chart.limits.centre == pytest.approx(5, abs=0.1)


def test_without_rebase_limits_stay_until_the_command() -> None:
    chart = individuals(rebase=None)
    fed(chart, *QUIET[:300])
    assert chart.version == 1
    assert chart.rebase() is chart.limits
    assert chart.version == 2


def test_a_constant_baseline_shows_no_variation_and_never_alarms() -> None:
    chart = individuals(baseline=50, rebase=60, rules=(1, 2, 3, 4, 5, 6, 7, 8))
    samples = fed(chart, *[2.0] * 50, *[2.0] * 9, 7.0)
    assert all(sample.in_control for sample in samples)
    assert samples[-1].phase is Phase.NO_VARIATION
    samples = fed(chart, *QUIET[:60])
    assert samples[-1].phase is Phase.MONITOR, "the next baseline moved"


def test_excluded_samples_are_left_out_of_the_next_baseline_only() -> None:
    # Values near each other and beyond nothing, so that only the exclusion on request can remove them.
    chart = individuals(baseline=50, rebase=None, rules=(1,))
    fed(chart, *QUIET[:50])
    before = chart.limits
    chart.exclude(range(10))
    assert chart.limits is before
    assert chart.rebase().n_used == 40
    assert chart.rebase().n_used == 40, "still inside the window"
    fed(chart, *QUIET[50:100])
    assert chart.rebase().n_used == 50


def test_a_baseline_with_too_many_exclusions_is_refused() -> None:
    chart = individuals(baseline=50, rebase=60)
    fed(chart, *QUIET[:50])
    chart.exclude(range(21))
    with pytest.raises(BaselineTooShort, match="29 usable points, 30 are needed") as caught:
        chart.rebase()
    assert (caught.value.points, caught.value.needed) == (29, 30)


def test_exclusion_during_the_first_baseline_waits_for_more_points() -> None:
    chart = individuals(baseline=50)
    fed(chart, *QUIET[:49])
    chart.exclude(range(25))
    samples = fed(chart, *QUIET[49:60])
    assert [sample.phase for sample in samples] == [Phase.BASELINE] * 6 + [Phase.MONITOR] * 5


def test_only_the_last_25_samples_are_kept() -> None:
    chart = individuals()
    fed(chart, *QUIET[:60])
    assert [sample.sample_id for sample in chart.recent] == list(range(60 - RECENT, 60))


def test_subgroups_are_gathered_one_observation_at_a_time() -> None:
    chart = Chart(ChartSpec("runtime.handler_ms", SubgroupRange(5), 10, 200, frozenset({1, 2})))
    samples = [sample for value in QUIET[:60] if (sample := chart.gather(value)) is not None]
    assert len(samples) == 12
    assert samples[0].value == pytest.approx(sum(QUIET[:5]) / 5)
    assert samples[0].spread == pytest.approx(max(QUIET[:5]) - min(QUIET[:5]))
    assert samples[-1].phase is Phase.MONITOR


def test_a_p_chart_judges_each_point_by_its_own_size() -> None:
    chart = Chart(ChartSpec("risk.denials", Proportion(), 10, None, frozenset({1})))
    for _ in range(10):
        chart.add(2, 20)
    assert chart.add(8, 20).in_control is False
    assert chart.add(8, 80).in_control is True
    sample = chart.add(20, 100)
    assert sample.limits is not None
    assert sample.limits.ucl == pytest.approx(0.1 + 3 * math.sqrt(0.09 / 100))
    assert sample.spread is None


def test_a_p_chart_gathers_ones_and_zeros() -> None:
    chart = Chart(ChartSpec("risk.denials", Proportion(), 10, None, frozenset({1})))
    answers = [chart.gather(1.0 if at % 10 == 0 else 0.0) for at in range(20)]
    assert answers[:-1] == [None] * 19
    assert answers[-1] is not None
    assert answers[-1].value == pytest.approx(0.1)


def test_a_chart_without_a_single_denial_shows_no_variation() -> None:
    chart = Chart(ChartSpec("risk.denials", Proportion(), 10, None, frozenset({1})))
    samples = [chart.add(0, 20) for _ in range(11)]
    assert samples[-1].phase is Phase.NO_VARIATION


def test_a_value_that_is_not_finite_names_the_chart_and_changes_nothing() -> None:
    chart = individuals()
    fed(chart, *QUIET[:10])
    before = chart.state()
    with pytest.raises(ValueError, match=r"pred\.log_range: .*one finite value"):
        chart.add(math.nan)
    assert chart.state() == before


@pytest.mark.parametrize(
    ("baseline", "rebase", "rules", "field"),
    [(9, 10, {1}, "baseline"), (50, 0, {1}, "rebase"), (50, 10, {9}, "rules")],
)
def test_a_spec_names_the_field_it_refuses(baseline: int, rebase: int, rules: set[int], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        ChartSpec("c", MovingRange(), baseline, rebase, frozenset(rules))


@given(st.integers(0, 320), st.integers(0, 50))
def test_a_restored_chart_goes_on_as_if_never_interrupted(stop: int, spike: int) -> None:
    values = [*QUIET[:350]]
    values[300 - spike] = 40.0
    straight, first, second = (individuals(baseline=50, rebase=70) for _ in range(3))
    fed(first, *values[:stop])
    first.exclude(range(max(0, stop - 3), stop))
    fed(straight, *values[:stop])
    straight.exclude(range(max(0, stop - 3), stop))
    second.restore(json.loads(json.dumps(first.state())))
    assert second.state() == first.state()
    assert fed(second, *values[stop:]) == fed(straight, *values[stop:])
