from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from talipp import indicators as talipp
from talipp.ohlcv import OHLCV

from quantum_trader.market.dataset import load_dataset
from quantum_trader.market.indicators import (
    ATR,
    RSI,
    SMA,
    PriorMax,
    PriorMin,
    RollingMedian,
)
from quantum_trader.model import Bar

ORACLE = Path(__file__).parents[2] / "data" / "oracle"

BARS = load_dataset().by_symbol()
CLOSES = [bar.close for bar in BARS["AAPL"]]

prices = st.lists(st.floats(0.01, 10_000.0).map(lambda x: round(x, 6)), min_size=1, max_size=60)
windows = st.integers(1, 12)


def windows_of(xs: Sequence[float], n: int) -> Iterator[Sequence[float] | None]:
    """The last n values at each place, None while there are fewer."""
    for i in range(1, len(xs) + 1):
        yield xs[i - n : i] if i >= n else None


# --- moving averages ---


@given(prices, windows)
def test_sma_is_the_mean_of_its_window(xs: list[float], n: int) -> None:
    sma = SMA(n)
    for x, window in zip(xs, windows_of(xs, n), strict=True):
        expected = None if window is None else pytest.approx(statistics.fmean(window), rel=1e-15)
        assert sma.update(x) == expected == sma.value


def test_sma_forgets_what_has_left_the_window() -> None:
    sma = SMA(3)
    for x in (1e15, 1e-2, 1e12, 0.1, 0.2):
        sma.update(x)
    assert sma.update(0.3) == pytest.approx(0.2, rel=1e-15)


def test_sma_does_not_drift_over_a_long_run() -> None:
    random = np.random.default_rng(1)
    xs = np.round(random.uniform(1.0, 1e6, 100_000), 6).tolist()
    sma = SMA(20)
    for x in xs:
        sma.update(x)
    assert sma.value == pytest.approx(math.fsum(xs[-20:]) / 20, rel=1e-15)


def test_equal_averages_are_equal_to_the_last_bit() -> None:
    fast, slow = SMA(20), SMA(50)
    for x in [*CLOSES, *[0.1] * 50]:
        fast.update(x)
        slow.update(x)
    assert fast.value == slow.value == 0.1


@pytest.mark.parametrize("n", [1, 20, 50])
def test_sma_agrees_with_talipp(n: int) -> None:
    sma = SMA(n)
    assert [sma.update(x) for x in CLOSES] == approximately(talipp.SMA(n, CLOSES))


@pytest.mark.parametrize(
    ("symbol", "case"),
    [
        ("GOOG", "A_goog_fee"),
        *[(symbol, "E_portfolio5_fee") for symbol in ("AAPL", "FB", "GOOG", "IBM", "MSFT")],
    ],
)
def test_crossings_are_those_of_the_oracle(symbol: str, case: str) -> None:
    with (ORACLE / f"{case}.trades.csv").open() as file:
        expected = [
            (row["entry_date"], f"{float(row['entry_price']):.6f}", row["exit_date"], f"{float(row['exit_price']):.6f}")
            for row in csv.DictReader(file)
            if row["symbol"] == symbol
        ]
    assert expected
    assert crossing_trades(BARS[symbol]) == expected


def crossing_trades(bars: Sequence[Bar]) -> list[tuple[str, str, str, str]]:
    """Entry and exit (date, open) of a strategy that is long while SMA 20 > SMA 50, decided a bar before."""
    fast, slow = SMA(20), SMA(50)
    trades: list[tuple[str, str, str, str]] = []
    entry: tuple[str, str] | None = None
    target = False
    for i, bar in enumerate(bars):
        when = (bar.ts.date().isoformat(), f"{bar.open:.6f}")
        if target and entry is None:
            entry = when
        elif not target and entry is not None:
            trades.append(entry + when)
            entry = None
        mean_fast, mean_slow = fast.update(bar.close), slow.update(bar.close)
        if i >= 50 and mean_fast is not None and mean_slow is not None:
            target = mean_fast > mean_slow
    return [*trades, (*entry, "", "0.000000")] if entry else trades


# --- oscillators and ranges ---


@pytest.mark.parametrize("n", [2, 3, 14])
def test_rsi_agrees_with_talipp(n: int) -> None:
    rsi = RSI(n)
    assert [rsi.update(x) for x in CLOSES] == approximately(talipp.RSI(n, CLOSES))


def test_rsi_without_movement_takes_no_side() -> None:
    rsi = RSI(2)
    assert [rsi.update(10.0) for _ in range(4)] == [None, None, 50.0, 50.0]


def test_rsi_of_one_way_markets_is_at_its_ends() -> None:
    up, down = RSI(2), RSI(2)
    for i in range(5):
        up.update(10.0 + i)
        down.update(10.0 - i)
    assert (up.value, down.value) == (100.0, 0.0)


@pytest.mark.parametrize("n", [1, 14, 20])
def test_atr_agrees_with_talipp(n: int) -> None:
    atr = ATR(n)
    bars = [OHLCV(b.open, b.high, b.low, b.close, b.volume) for b in BARS["MSFT"]]
    assert [atr.update(b.high, b.low, b.close) for b in BARS["MSFT"]] == approximately(talipp.ATR(n, bars))


def test_true_range_reaches_to_the_last_close() -> None:
    atr = ATR(1)
    assert [atr.update(11.0, 10.0, 10.5), atr.update(21.0, 20.0, 20.5)] == [1.0, 10.5]


# --- order statistics ---


@given(prices, windows)
def test_prior_extremes_are_those_of_the_values_before(xs: list[float], n: int) -> None:
    highest, lowest = PriorMax(n), PriorMin(n)
    for i, x in enumerate(xs):
        before = xs[i - n : i] if i >= n else None
        assert highest.update(x) == (None if before is None else max(before))
        assert lowest.update(x) == (None if before is None else min(before))


@given(prices, windows)
def test_median_is_that_of_its_window(xs: list[float], n: int) -> None:
    median = RollingMedian(n)
    for x, window in zip(xs, windows_of(xs, n), strict=True):
        assert median.update(x) == (None if window is None else statistics.median(window))


# --- misuse ---


@pytest.mark.parametrize("kind", [SMA, RSI, ATR, PriorMax, PriorMin, RollingMedian])
def test_a_window_of_nothing_is_refused(kind: Callable[[int], object]) -> None:
    with pytest.raises(ValueError, match="n is 0; give 1 or more"):
        kind(0)


def test_a_value_that_is_not_finite_is_refused_and_leaves_no_trace() -> None:
    poisoned, clean = SMA(3), SMA(3)
    for x in (1.0, 2.0, 4.0, 3.0):
        for bad in (math.nan, math.inf):
            with pytest.raises((ValueError, OverflowError)):
                poisoned.update(bad)
        assert poisoned.update(x) == clean.update(x)


def approximately(figures: Sequence[float | None]) -> list[object]:
    return [None if figure is None else pytest.approx(figure, rel=1e-9, abs=1e-9) for figure in figures]
