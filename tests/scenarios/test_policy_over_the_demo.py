"""Thirteen years of the demo bars: the seed strategies always on, and the risk mode that would have followed.

The design's figure, then ours. Accounts here hold 20 % of their equity in each symbol, fill at the next open,
pay 0.1 %.

    Sharpe ratio 2003-2013   all twelve seeds 1.06 (1.03), holding 20 % of each symbol 1.01 (0.99)

    Risk modes, health aside: equity of trend-20-100, EWMA forecasts, 3,018 sessions (2,998: a forecast needs 22 bars)
    changes of mode            with hysteresis 47 (48), without 199 (184)
    share of time              DEFENSIVE 36 % (34), NORMAL 26 % (29), AGGRESSIVE 38 % (37)
    from an all-time peak      DEFENSIVE 56 % (56)

The design does not name the equity behind its figures. 3,018 sessions are those after 252 forecasts, the first bar's among
them, with the median of the 252 before; counted so, ours are 48 and 182. Of the seeds alone, their families, pairs and
triples of families and holding every symbol none gives 47 and 199: trend and momentum give 42 to 62 and 135 to 200, all
twelve together 38 and 148 with 14 % DEFENSIVE, holding 61 and 211. What the design claims holds for each: hysteresis saves
three of four changes, or two of three.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from quantum_trader.alpha.families import StrategySpec
from quantum_trader.app import seeds
from quantum_trader.config import Config
from quantum_trader.control.policy_rules import Inputs, VolatilityRatio, decide, memoryless
from quantum_trader.learning.forecast import Ewma, RangeHistory
from quantum_trader.learning.statistics import annual_sharpe
from quantum_trader.market.dataset import Dataset, load_dataset
from quantum_trader.model import Bar, HealthStatus, RiskMode

WEIGHT = 0.20
FEE = 0.001
PEAK_WINDOW = 252

Floats = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def demo() -> Dataset:
    return load_dataset()


@dataclass(slots=True)
class Holding:
    """One strategy on one symbol: what it holds, and what it decided at the last close."""

    held: int = 0
    wanted: int = 0
    close: float | None = None

    def earned(self, bar: Bar) -> float:
        """Return from the last close to this one, the decision filled at the open."""
        before, self.close = self.close, bar.close
        held, self.held = self.held, self.wanted
        if before is None:
            return 0.0
        match held, self.held:
            case 1, 1:
                return bar.close / before - 1
            case 1, 0:
                return bar.open / before - 1 - FEE
            case 0, 1:
                return bar.close / bar.open - 1 - FEE
            case _:
                return 0.0


def always_on(demo: Dataset, seeds: Sequence[StrategySpec]) -> Floats:
    """Daily returns of equal parts in each of `seeds`."""
    lines = {symbol: [(seed.machine(), Holding()) for seed in seeds] for symbol in demo.symbols}
    returns = np.zeros(len(demo))
    for at, session in enumerate(demo):
        for bar in session.bars:
            for machine, holding in lines[bar.symbol]:
                returns[at] += WEIGHT * holding.earned(bar) / len(seeds)
                holding.wanted = machine.update(bar) or 0
    return returns


def buy_and_hold(demo: Dataset) -> Floats:
    returns, closes = np.zeros(len(demo)), dict[str, float]()
    for at, session in enumerate(demo):
        for bar in session.bars:
            returns[at] += WEIGHT * (bar.close / closes.get(bar.symbol, bar.close) - 1)
            closes[bar.symbol] = bar.close
    return returns


@pytest.fixture(scope="module")
def ratios(demo: Dataset) -> list[float | None]:
    """The volatility ratio after each session."""
    forecaster, ratio, found = Ewma(0.9), VolatilityRatio(), []
    histories = {symbol: RangeHistory() for symbol in demo.symbols}
    for session in demo:
        for bar in session.bars:
            forecaster.update(bar.symbol, histories[bar.symbol].observe(bar))
        forecasts = {bar.symbol: forecaster.forecast(bar.symbol) for bar in session.bars}
        found.append(ratio.update({symbol: one for symbol, one in forecasts.items() if one is not None}))
    return found


def drawdowns(returns: Floats, window: int) -> list[float]:
    equity = np.cumprod(1 + returns)
    return [float(1 - equity[at] / equity[max(0, at - window + 1) : at + 1].max()) for at in range(len(equity))]


def modes(falls: Sequence[float], ratios: Sequence[float | None], *, hysteresis: bool = True) -> list[RiskMode]:
    """The mode of each session since the volatility ratio is known."""
    mode, found = RiskMode.DEFENSIVE, list[RiskMode]()
    changed_at: int | None = None
    for at, (fall, ratio) in enumerate(zip(falls, ratios, strict=True)):
        if ratio is None:
            continue
        inputs = Inputs(fall, ratio, HealthStatus.HEALTHY)
        since = None if changed_at is None else at - changed_at
        after = decide(mode, inputs, sessions_since_change=since).mode if hysteresis else memoryless(inputs)
        if after is not mode:
            mode, changed_at = after, at
        found.append(mode)
    return found


def changes(found: Sequence[RiskMode]) -> int:
    return sum(one is not other for one, other in zip([RiskMode.DEFENSIVE, *found], found, strict=False))


def shares(found: Sequence[RiskMode]) -> list[float]:
    counted = Counter(found)
    return [100 * counted[mode] / len(found) for mode in RiskMode]


def test_seeds_and_benchmark_earn_what_the_design_measured(demo: Dataset) -> None:
    start = next(at for at, session in enumerate(demo) if session.bars[0].ts.year >= 2003)
    assert annual_sharpe(always_on(demo, seeds(Config()))[start:]) == pytest.approx(1.06, abs=0.05)
    assert annual_sharpe(buy_and_hold(demo)[start:]) == pytest.approx(1.01, abs=0.05)


def test_hysteresis_saves_three_of_four_mode_changes(demo: Dataset, ratios: list[float | None]) -> None:
    falls = drawdowns(always_on(demo, [StrategySpec("trend", (20, 100))]), PEAK_WINDOW)
    steady = modes(falls, ratios)
    assert len(steady) == 2_998
    assert changes(steady) == pytest.approx(47, abs=5)
    assert changes(modes(falls, ratios, hysteresis=False)) == pytest.approx(199, rel=0.1)
    assert shares(steady) == pytest.approx([36, 26, 38], abs=4)


def test_an_all_time_peak_would_keep_the_mode_defensive(demo: Dataset, ratios: list[float | None]) -> None:
    falls = drawdowns(always_on(demo, [StrategySpec("trend", (20, 100))]), len(demo))
    assert shares(modes(falls, ratios))[0] == pytest.approx(56, abs=3)


def test_the_first_mode_is_defensive_until_a_year_of_forecasts_exists(ratios: list[float | None]) -> None:
    first = next(at for at, ratio in enumerate(ratios) if ratio is not None)
    assert first == 21 + 251
    assert all(ratio is not None and math.isfinite(ratio) for ratio in ratios[first:])
