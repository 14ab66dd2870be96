"""Which trading series may be put on a control chart, measured on the demo bars with the shipped limits.

Rule-1 alarms per 1,000 points, individuals, limits renewed every 250 points; nominal are 2.7. The design's figure,
(ours) without exclusion of baseline points as it was measured there, [ours] on the product's chart, which excludes
them:

    series                        AAPL                GOOG                IBM                 MSFT
    log-range error, EWMA 0.9      2.9  (9.0) [10.3]   2.9 (10.1) [12.8]   1.5  (8.7)  [9.0]   3.3 (10.0) [13.3]
    log-range error, EWMA 0.5      2.9  (2.7)  [3.3]   2.9  (3.2)  [3.2]   1.5  (1.7)  [2.0]   3.3  (3.7)  [5.0]
    return / forecast volatility  13.0 (13.0) [20.7]  14.3 (14.4) [26.1]  13.0 (14.0) [18.7]  13.7 (14.0) [22.0]
    overnight gap                 26.7 (26.5) [47.0]  32.6 (30.6) [54.8]  27.7 (27.5) [51.0]  25.3 (25.2) [45.4]
    gap / volatility              25.3 (26.0) [43.7]  22.3 (22.4) [39.5]  22.3 (22.7) [38.4]  21.0 (20.4) [35.7]
    asinh(3 gap / volatility)      9.0  (8.7) [12.0]  12.0 (10.1) [12.3]   4.3  (4.7)  [6.7]   4.0  (3.7)  [5.3]
    drawdown                       891   (891)         846   (858)         783   (779)         779   (780)

The design does not say whose error it charted. Only a forecaster that reacts within days gives its figures; the
errors of a slow one drift with the volatility they miss. The verdicts are the same: error and asinh are charted, the
rest is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest

from quantum_trader.market.dataset import load_dataset
from quantum_trader.model import Bar
from quantum_trader.monitoring.chart import Chart, ChartSpec
from quantum_trader.monitoring.limits import MovingRange, settle

WARMUP = 22
BASELINE = 250
SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")

Bars = Sequence[Bar]


def log_range_error(bars: Bars, *, decay: float) -> list[float]:
    """Actual minus forecast log range, the forecast being an exponentially weighted mean."""
    y = [math.log(max(math.log(bar.high / bar.low), 1e-5)) for bar in bars]
    smooth, errors = y[0], []
    for value in y[1:]:
        errors.append(value - smooth)
        smooth = decay * smooth + (1 - decay) * value
    return errors[WARMUP - 1 :]


def returns(bars: Bars) -> list[float]:
    return [math.log(b.close / a.close) for a, b in pairwise(bars)]


def gaps(bars: Bars) -> list[float]:
    return [math.log(b.open / a.close) for a, b in pairwise(bars)]


def in_volatilities(bars: Bars, series: Callable[[Bars], list[float]]) -> list[float]:
    """The series in units of the volatility forecast before it: exponentially weighted returns, decay 0.94."""
    r = returns(bars)
    variance, scaled = float(np.var(r[:WARMUP])), []
    for change, value in zip(r, series(bars), strict=True):
        scaled.append(value / math.sqrt(variance))
        variance = 0.94 * variance + 0.06 * change**2
    return scaled[WARMUP:]


def drawdown(bars: Bars) -> list[float]:
    peak, falls = 0.0, []
    for bar in bars:
        peak = max(peak, bar.close)
        falls.append(1 - bar.close / peak)
    return falls


SERIES: dict[str, Callable[[Bars], list[float]]] = {
    "slow error": lambda bars: log_range_error(bars, decay=0.9),
    "fast error": lambda bars: log_range_error(bars, decay=0.5),
    "return / volatility": lambda bars: in_volatilities(bars, returns),
    "gap": gaps,
    "gap / volatility": lambda bars: in_volatilities(bars, gaps),
    "asinh": lambda bars: [math.asinh(3 * gap) for gap in in_volatilities(bars, gaps)],
    "drawdown": drawdown,
}
DESIGN = {
    "fast error": (2.9, 2.9, 1.5, 3.3),
    "return / volatility": (13.0, 14.3, 13.0, 13.7),
    "gap": (26.7, 32.6, 27.7, 25.3),
    "gap / volatility": (25.3, 22.3, 22.3, 21.0),
    "asinh": (9.0, 12.0, 4.3, 4.0),
    "drawdown": (891, 846, 783, 779),
}


@pytest.fixture(scope="module")
def bars() -> dict[str, list[Bar]]:
    return load_dataset().by_symbol()


def alarms_per_thousand(values: Sequence[float]) -> float:
    """Rule-1 alarms by limits from the 250 points before, renewed every 250, no point excluded."""
    alarms = 0
    for start in range(BASELINE, len(values), BASELINE):
        limits = settle([(value,) for value in values[start - BASELINE : start]], MovingRange(), exclude=False)
        alarms += sum(abs(limits.z(value)) > 3 for value in values[start : start + BASELINE])
    return 1000 * alarms / (len(values) - BASELINE)


def charted_per_thousand(
    values: Sequence[float], *, rebase: int | None = BASELINE, rules: Sequence[int] = (1,)
) -> float:
    """Points out of control on a chart of the product."""
    chart = Chart(ChartSpec("series", MovingRange(), BASELINE, rebase, frozenset(rules)))
    judged = [sample for value in values if (sample := chart.add(value)).z is not None]
    return 1000 * sum(not sample.in_control for sample in judged) / len(judged)


@pytest.mark.parametrize("name", DESIGN)
def test_alarm_rates_are_those_of_the_design(bars: dict[str, list[Bar]], name: str) -> None:
    measured = [alarms_per_thousand(SERIES[name](bars[symbol])) for symbol in SYMBOLS]
    assert measured == pytest.approx(DESIGN[name], rel=0.16, abs=0.5)


def test_charted_series_alarm_less_than_those_refused(bars: dict[str, list[Bar]]) -> None:
    rate = {
        name: max(charted_per_thousand(series(bars[symbol])) for symbol in SYMBOLS) for name, series in SERIES.items()
    }
    assert rate["fast error"] < 6
    assert max(rate["slow error"], rate["asinh"]) < 14
    assert rate["return / volatility"] < 27
    assert min(rate["gap"], rate["gap / volatility"]) > 40
    assert rate["drawdown"] > 700


def test_raw_returns_with_limits_frozen_once_and_all_rules_are_useless(bars: dict[str, list[Bar]]) -> None:
    """The design saw 20 to 64 % of the days alarm; ours: AAPL 50, GOOG 17, IBM 59, MSFT 42 %."""
    shares = [charted_per_thousand(returns(bars[symbol]), rebase=None, rules=range(1, 9)) / 1000 for symbol in SYMBOLS]
    assert min(shares) > 0.15
    assert max(shares) < 0.65


def test_drawdown_remembers_itself(bars: dict[str, list[Bar]]) -> None:
    """A chart assumes independent points: a lag-1 correlation of 0.99 is the reason for a ladder of thresholds."""
    for symbol in SYMBOLS:
        series = np.array(drawdown(bars[symbol]))
        assert np.corrcoef(series[1:], series[:-1])[0, 1] > 0.99
