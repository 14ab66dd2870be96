from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from quantum_trader.market.importing.dates import DateEvidence, Dates, UnknownZone, zone_of


def one(text: str) -> datetime:
    evidence = DateEvidence()
    evidence.add(text)
    return Dates(evidence.kind, order=evidence.order).read(text)


@pytest.mark.parametrize(
    "text",
    [
        "2020-01-31",
        "2020-1-31",
        "20200131",
        "20200131000000",
        "20200131 000000",
        "2020/01/31",
        "2020.01.31",
        "31.01.2020",
        "31.1.20",
        "31. 1. 2020",
        "01/31/2020",
        "31/01/2020",
        "31-01-2020",
        "31-Jan-2020",
        "31-Jan-20",
        "31 January 2020",
        "Jan 31, 2020",
        "Fri, Jan 31, 2020",
        "Friday, January 31, 2020",
        "43861",
        "1580428800",
        "1580428800.0",
        "1580428800000",
        "1580428800000000",
        "1580428800000000000",
        "2020-01-31 12:00 AM",
        "2020-01-31T00:00:00.000Z",
        "2020-01-31 00:00:00 UTC",
    ],
)
def test_a_day_is_read_in_any_usual_form(text: str) -> None:
    assert one(text) == datetime(2020, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("2020-01-31 09:30:00-05:00", -5),
        ("2020-01-31 09:30:00 America/New_York", -5),
        ("2020-07-31 09:30:00 America/New_York", -4),
        ("31.01.2020 09:30 +0530", 5.5),
        ("01/31/2020 9:30 AM Europe/Berlin", 1),
    ],
)
def test_a_zone_is_that_of_its_date(text: str, hours: float) -> None:
    read = one(text)
    assert read.utcoffset() == timedelta(hours=hours)
    assert (read.hour, read.minute) == (9, 30)


def test_what_has_no_zone_is_in_the_given_one_and_epochs_are_seen_from_there() -> None:
    tokyo = zone_of("Asia/Tokyo")
    assert Dates("iso", zone=tokyo).read("2020-01-31").tzinfo == timezone(timedelta(hours=9))
    assert Dates("epoch-s", zone=tokyo).read("1580396400").date().isoformat() == "2020-01-31"


@pytest.mark.parametrize(
    "text",
    ["2020-02-30", "2020-01-31 25:00", "2020-01-31 13:00 PM", "2020-01-31x", "31.13.2020", "31-Foo-2020", "Jan 2020"],
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        one(text)


@pytest.mark.parametrize("zone", ["EDT", "Mars/Olympus", "Europe", "X"])
def test_a_zone_that_is_none_is_refused_not_taken_for_that_of_the_machine(zone: str) -> None:
    with pytest.raises(UnknownZone):
        one(f"2020-01-31 09:30 {zone}")


@pytest.mark.parametrize(
    ("cells", "order"),
    [
        (["01/02/2020", "13/02/2020"], "day"),
        (["01/02/2020", "02/13/2020"], "month"),
        (["01/02/2020"], None),
        (["01/01/2020"], "month"),
    ],
)
def test_the_order_is_told_from_all_dates(cells: list[str], order: str | None) -> None:
    evidence = DateEvidence()
    for cell in cells:
        evidence.add(cell)
    assert evidence.order == order
