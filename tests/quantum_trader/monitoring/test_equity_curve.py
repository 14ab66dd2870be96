"""Equity curve: columns of numbers that give back exactly the points they were made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.model import RiskMode
from quantum_trader.monitoring.equity_curve import EquityCurve, EquityPoint

POINTS = st.builds(
    EquityPoint,
    session=st.integers(0, 10**6),
    ts=st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    equity=st.decimals(-(10**9), 10**9, places=6),
    benchmark=st.floats(0, 1e12),
    drawdown=st.floats(0, 1),
    mode=st.sampled_from([None, *RiskMode]),
)


def curve(points: list[EquityPoint]) -> EquityCurve:
    made = EquityCurve()
    for point in points:
        made.append(point)
    return made


@given(st.lists(POINTS, max_size=8))
def test_points_come_back_exactly(points: list[EquityPoint]) -> None:
    made = curve(points)
    assert list(made) == points
    assert made[1:] == points[1:]
    assert [made[-1 - at] for at in range(len(points))] == points[::-1]


def test_it_ends_where_the_points_end() -> None:
    assert not EquityCurve()
    with pytest.raises(IndexError):
        curve([])[0]


def test_a_row_takes_41_bytes() -> None:
    at = datetime(2001, 1, 1, tzinfo=UTC)
    made = curve([EquityPoint(n, at + timedelta(n), Decimal(n), 1.0, 0.0, None) for n in range(100)])
    columns = [column for column in vars(made).values() if len(column) == 100]
    assert sum(column.itemsize for column in columns) == 41
