from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.market.validate import Anomaly, AnomalyKind, FeedCheck, is_jump, ohlcv_fault
from quantum_trader.model import Bar


def bar(session: int, close: float = 100.0, symbol: str = "AAPL") -> Bar:
    ts = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=session)
    return Bar(symbol, session, ts, close, close + 1, close - 1, close, 1_000 + session)


def kinds(anomalies: tuple[Anomaly, ...]) -> list[AnomalyKind]:
    return [anomaly.kind for anomaly in anomalies]


def test_a_clean_feed_is_delivered_without_remark() -> None:
    check = FeedCheck()
    for session in range(5):
        assert check.bar(bar(session)) == (True, ())
        assert check.end_session(session) == ()


def test_an_older_bar_is_dropped() -> None:
    check = FeedCheck()
    check.bar(bar(3))
    verdict = check.bar(bar(2))
    assert not verdict.deliver
    assert kinds(verdict.anomalies) == [AnomalyKind.OUT_OF_ORDER]


def test_a_second_bar_of_one_time_is_dropped() -> None:
    check = FeedCheck()
    check.bar(bar(3))
    verdict = check.bar(bar(3, close=50.0))
    assert not verdict.deliver
    assert kinds(verdict.anomalies) == [AnomalyKind.DUPLICATE]
    assert check.bar(bar(4)) == (True, ()), "the dropped close is not the one jumps are measured from"


def test_an_incoherent_bar_is_dropped_and_may_be_corrected() -> None:
    check = FeedCheck()
    verdict = check.bar(replace(bar(0), high=99.0))
    assert not verdict.deliver
    assert verdict.anomalies == (Anomaly("AAPL", 0, AnomalyKind.BAD_OHLC, "high 99.0 is below 100.0"),)
    assert check.bar(bar(0)) == (True, ())


def test_a_jump_is_delivered_with_a_remark() -> None:
    check = FeedCheck()
    check.bar(bar(0, 53.5))
    assert check.bar(bar(1, 28.19)) == (
        True,
        (Anomaly("AAPL", 1, AnomalyKind.JUMP, "open 28.19 after close 53.5"),),
    )


@given(st.floats(0.01, 1e6), st.floats(0.01, 1e6))
def test_a_jump_is_a_log_distance_beyond_ln_1_4(previous: float, open_: float) -> None:
    distance = abs(math.log(open_ / previous))
    if not math.isclose(distance, math.log(1.4), rel_tol=1e-9):
        assert is_jump(previous, open_) == (distance > math.log(1.4))


def test_a_gap_is_missing_three_times_then_stale_once() -> None:
    check = FeedCheck()
    check.bar(bar(0))
    said = [kinds(check.end_session(session)) for session in range(8)]
    assert said == [[], ["MISSING"], ["MISSING"], ["MISSING"], ["STALE"], [], [], []]


def test_a_symbol_that_returns_is_expected_again() -> None:
    check = FeedCheck(stale_after=1)
    check.bar(bar(0))
    assert [kinds(check.end_session(session)) for session in (1, 2, 3)] == [["MISSING"], ["STALE"], []]
    assert check.bar(bar(4)) == (True, ())
    assert kinds(check.end_session(5)) == ["MISSING"]


def test_a_symbol_is_not_missing_before_its_first_bar() -> None:
    check = FeedCheck()
    check.bar(bar(0, symbol="IBM"))
    check.bar(bar(1, symbol="IBM"))
    assert check.end_session(1) == ()
    check.bar(bar(2, symbol="FB"))
    assert [(a.symbol, a.kind) for a in check.end_session(2)] == [("IBM", AnomalyKind.MISSING)]


def test_missing_symbols_are_named_in_sorted_order() -> None:
    check = FeedCheck()
    for symbol in ("MSFT", "AAPL", "IBM"):
        check.bar(bar(0, symbol=symbol))
    assert [anomaly.symbol for anomaly in check.end_session(1)] == ["AAPL", "IBM", "MSFT"]


def test_a_bar_that_keeps_repeating_itself_is_stale_once() -> None:
    check = FeedCheck()
    said = [kinds(check.bar(replace(bar(session), volume=1_000)).anomalies) for session in range(8)]
    assert said == [[], [], [], [], ["STALE"], [], [], []]


def test_a_repeated_bar_that_moves_again_is_fresh() -> None:
    check = FeedCheck(stale_after=0)
    assert kinds(check.bar(bar(0)).anomalies) == []
    assert kinds(check.bar(replace(bar(1), volume=1_000)).anomalies) == ["STALE"]
    assert kinds(check.bar(bar(2)).anomalies) == []


@pytest.mark.parametrize(
    ("ohlcv", "fault"),
    [
        ((10.0, 11.0, 9.0, 10.5, 100), None),
        ((10.0, 10.0, 10.0, 10.0, 0), None),
        ((10.0, 9.9, 9.0, 9.5, 100), "high 9.9 is below 10.0"),
        ((10.0, 11.0, 10.1, 10.5, 100), "low 10.1 is above 10.0"),
        ((10.0, 11.0, 9.0, 11.5, 100), "high 11.0 is below 11.5"),
        ((0.0, 11.0, 0.0, 10.5, 100), "low 0.0 is not positive"),
        ((-1.0, 11.0, -2.0, 10.5, 100), "low -2.0 is not positive"),
        ((10.0, math.inf, 9.0, 10.5, 100), "a price is infinite"),
        ((math.nan, 11.0, 9.0, 10.5, 100), "a price is not a number"),
        ((10.0, math.nan, 9.0, 10.5, 100), "a price is not a number"),
        ((10.0, 11.0, math.nan, 10.5, 100), "a price is not a number"),
        ((10.0, 11.0, 9.0, math.nan, 100), "a price is not a number"),
        ((10.0, 11.0, 9.0, 10.5, -1), "volume -1 is negative"),
    ],
)
def test_fault_says_why_five_figures_are_no_bar(ohlcv: tuple[float, ...], fault: str | None) -> None:
    assert ohlcv_fault(*ohlcv) == fault
