from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.market import calendar
from quantum_trader.market.calendar import first_instant, format_ts, last_instant, parse_ts, union


def day(number: int) -> datetime:
    return datetime(2020, 1, number, tzinfo=UTC)


def test_union_has_every_instant_once_in_order() -> None:
    assert union([[day(2), day(3)], [day(1), day(3)], []]) == (day(1), day(2), day(3))


def test_a_date_alone_is_midnight_utc() -> None:
    assert parse_ts("2000-03-01") == datetime(2000, 3, 1, tzinfo=UTC)


def test_an_instant_is_brought_to_utc() -> None:
    assert parse_ts("2017-01-02T05:30:00-05:00") == datetime(2017, 1, 2, 10, 30, tzinfo=UTC)
    assert parse_ts("2017-01-02 05:30") == datetime(2017, 1, 2, 5, 30, tzinfo=UTC)


def test_a_pattern_replaces_iso() -> None:
    assert parse_ts("31/12/2009", "%d/%m/%Y") == datetime(2009, 12, 31, tzinfo=UTC)
    with pytest.raises(ValueError, match="does not match"):
        parse_ts("2009-12-31", "%d/%m/%Y")


def test_midnight_is_written_as_a_date() -> None:
    assert format_ts(day(7)) == "2020-01-07"
    assert format_ts(day(7) + timedelta(hours=1)) == "2020-01-07T01:00:00+00:00"


@given(st.datetimes(timezones=st.just(UTC)))
def test_written_instants_read_back(ts: datetime) -> None:
    assert parse_ts(format_ts(ts)) == ts


def test_a_range_of_dates_contains_both_days_whole() -> None:
    assert first_instant(date(2020, 1, 7)) == day(7)
    assert day(8) - timedelta(microseconds=1) <= last_instant(date(2020, 1, 7)) < day(8)


def test_an_open_range_contains_everything() -> None:
    assert first_instant(None) <= datetime(1, 1, 1, tzinfo=UTC)
    assert last_instant(None) >= datetime(9999, 12, 31, tzinfo=UTC)


def test_an_instant_bounds_a_range_in_its_own_zone() -> None:
    noon_in_new_york = datetime(2020, 1, 7, 12, tzinfo=timezone(timedelta(hours=-5)))
    assert first_instant(noon_in_new_york) == last_instant(noon_in_new_york) == datetime(2020, 1, 7, 17, tzinfo=UTC)


def test_a_naive_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        first_instant(datetime(2020, 1, 7))  # noqa: DTZ001


def at(day: date, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)


DAYS = [date(2020, 1, 1) + timedelta(days=n) for n in range(60)]
WEEKDAYS = [day for day in DAYS if day.weekday() < 5]


@pytest.mark.parametrize(
    ("instants", "interval_s", "periods"),
    [
        ([at(day) for day in WEEKDAYS], 86_400, 252),
        ([at(day) for day in DAYS], 86_400, 365),
        ([at(day, 14 + n // 60, n % 60) for day in WEEKDAYS for n in range(390)], 60, 390 * 252),
        ([at(day, n) for day in DAYS for n in range(24)], 3_600, 24 * 365),
        ([at(day) for day in WEEKDAYS[::5]], 7 * 86_400, 52),
        ([at(DAYS[0])], 86_400, 252),
        ([], 86_400, 252),
    ],
    ids=["weekdays", "every day", "minutes", "hours of every day", "weeks", "one bar", "none"],
)
def test_a_calendar_says_its_interval_and_how_many_a_year_has(
    instants: list[datetime], interval_s: int, periods: int
) -> None:
    rhythm = calendar.rhythm(instants)
    assert (rhythm.interval_s, rhythm.periods_per_year) == (interval_s, periods)
