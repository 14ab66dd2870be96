"""The shapes in which vendors write bars. Each file says the same three bars, in its own way."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantum_trader.config import Costs
from quantum_trader.execution.fills import room
from quantum_trader.market import layout
from quantum_trader.market.adjust import RawBar
from quantum_trader.market.csv_import import import_csv
from quantum_trader.market.dataset import load_dataset
from quantum_trader.market.errors import BadRows, DamagedFile, DataError, MissingColumns, Unusable
from quantum_trader.market.importing.shape import Shape
from quantum_trader.model import UNKNOWN_VOLUME

FILES = Path(__file__).parents[2] / "data" / "import"
DAYS = [datetime(2020, 1, 30, tzinfo=UTC), datetime(2020, 1, 31, tzinfo=UTC), datetime(2020, 2, 3, tzinfo=UTC)]
NUMBERS = [
    (1234.5, 1250.25, 1230.75, 1240.5, 1_200_000),
    (1240.5, 1260.5, 1235.25, 1255.75, 1_300_000),
    (1255.75, 1258.5, 1199.5, 1210.25, 1_500_000),
]
BARS = [RawBar(day, *numbers, numbers[3]) for day, numbers in zip(DAYS, NUMBERS, strict=True)]
HALVES = [RawBar(bar.ts, *(number / 2 for number in bar[1:])) for bar in (BARS[0], BARS[2])]


def read(name: str, to: Path, symbol: str | None = "XYZ", **shape: Any) -> tuple[dict[str, list[RawBar]], list[str]]:
    told: list[str] = []
    path = import_csv(FILES / name, to, symbol=symbol, shape=Shape(**shape), note=told.append)
    return layout.read(path)[1], told


@pytest.mark.parametrize(
    "name",
    [
        "iso.csv",
        "offset.csv",
        "dotted_dates.csv",
        "month_first.csv",
        "day_first.csv",
        "day_first_dashes.csv",
        "year_slashes.csv",
        "short_years.csv",
        "compact_dates.csv",
        "month_names.csv",
        "month_names_us.csv",
        "epoch_s.csv",
        "epoch_ms.csv",
        "epoch_us.csv",
        "epoch_ns.csv",
        "serial.csv",
        "date_and_time.csv",
        "german.csv",
        "french.csv",
        "spanish.csv",
        "thousands.csv",
        "swiss.csv",
        "currency_newest_first.csv",
        "euro_sign.csv",
        "scaled_volume.csv",
        "bom.csv",
        "utf16.csv",
        "utf16_no_mark.csv",
        "semicolon.csv",
        "tab.csv",
        "bar.csv",
        "packed.csv.gz",
        "packed.zip",
        "title_lines.csv",
        "units_below.csv",
        "tick_volume.csv",
        "real_volume.csv",
        "spreadsheet_hint.csv",
        "blanks.txt",
    ],
)
def test_the_file_says_the_three_bars(name: str, tmp_path: Path) -> None:
    assert read(name, tmp_path)[0] == {"XYZ": BARS}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("german_cp1252.csv", {"encoding": "cp1252"}),
        ("no_header.csv", {"header": ("date", "open", "high", "low", "close", "volume")}),
        ("no_header_terminal.csv", {"header": ("date", "time", "open", "high", "low", "close", "volume")}),
        ("title_lines.csv", {"skip_rows": 2}),
        ("dotted_dates.csv", {"date_format": "%d.%m.%Y"}),
        ("epoch_ms.csv", {"date_format": "epoch-ms"}),
    ],
)
def test_the_file_says_them_once_the_user_has_said_how(name: str, shape: dict[str, Any], tmp_path: Path) -> None:
    assert read(name, tmp_path, **shape)[0] == {"XYZ": BARS}


@pytest.mark.parametrize("name", ["symbol_in_second_line.csv"])
def test_the_columns_may_say_the_symbol(name: str, tmp_path: Path) -> None:
    assert read(name, tmp_path, None)[0] == {"XYZ": BARS}


@pytest.mark.parametrize(
    "name",
    [
        "long_symbols.csv",
        "wide_symbols_on_top.csv",
        "wide_symbols_below.csv",
        "wide_pairs.csv",
        "wide_dotted_names.csv",
        "wide_field_first.csv",
    ],
)
def test_symbols_stand_below_each_other_or_side_by_side(name: str, tmp_path: Path) -> None:
    assert read(name, tmp_path, None)[0] == {"ABC": HALVES, "XYZ": BARS}


def test_symbols_are_written_as_vendors_do(tmp_path: Path) -> None:
    bars, _ = read("vendor_symbols.csv", tmp_path, None)
    assert {"M&M.NS", ".DJI", "BTC/USDT", "@ES", "^GSPC", "EURUSD=X", "ES1!", "NASDAQ:AAPL", "$SPX"} <= bars.keys()


def test_of_two_volumes_of_currencies_one_is_chosen_by_the_user(tmp_path: Path) -> None:
    with pytest.raises(MissingColumns, match=r"row 2: no column for volume .*'Volume XYZ', 'Volume USDT'"):
        read("two_dates.csv", tmp_path, None)
    assert read("two_dates.csv", tmp_path, None, columns={"volume": "Volume XYZ"})[0] == {"XYZ/USDT": BARS}


def test_a_turnover_in_money_is_the_volume_where_there_is_no_other(tmp_path: Path) -> None:
    bars, told = read("turnover.csv", tmp_path / "money")
    for found, bar in zip(bars["XYZ"], BARS, strict=True):
        assert found._replace(volume=bar.volume) == bar
        assert found.volume == pytest.approx(bar.volume, rel=1e-6)
    assert "volume: column 'Turnover' (money) over the mean price of the bar" in told
    unlimited, _ = read("turnover.csv", tmp_path / "none", has_volume=False)
    assert {bar.volume for bar in unlimited["XYZ"]} == {UNKNOWN_VOLUME}
    both, told = read("turnover_beside.csv", tmp_path / "both")
    assert both == {"XYZ": BARS}
    assert "volume: column 'Volume'" in told


@pytest.mark.parametrize("name", ["header_in_two_lines.csv", "adjusted_columns.csv"])
def test_the_close_as_the_vendor_adjusted_it_is_kept_beside(name: str, tmp_path: Path) -> None:
    bars, told = read(name, tmp_path)
    assert bars["XYZ"] == [bar._replace(adj_close=bar.close / 2) for bar in BARS]
    assert any(line.startswith("adjustment: by 'adj") for line in map(str.casefold, told))


def test_a_bar_without_volume_and_with_sound_prices_is_kept_one_without_prices_only_left_out(tmp_path: Path) -> None:
    with pytest.raises(BadRows, match=r"row 6: column 'Open': 0\.0 is not between.*with --skip-bad$"):
        read("zero_rows.csv", tmp_path)
    bars, told = read("zero_rows.csv", tmp_path, skip_bad=True)
    assert [bar.ts.day for bar in bars["XYZ"]] == [30, 31, 3, 4]
    assert "kept: 1 bars without volume" in told
    assert "left out: 1 rows" in told


def test_empty_rows_are_refused_or_left_out_and_listed(tmp_path: Path) -> None:
    with pytest.raises(BadRows, match="row 3: column 'Open': 'null' is not a number"):
        read("null_rows.csv", tmp_path)
    bars, told = read("null_rows.csv", tmp_path, skip_bad=True)
    assert bars == {"XYZ": BARS}
    assert "left out: row 3: column 'Open': 'null' is not a number" in told


def test_a_line_of_text_below_the_table_is_one_fault(tmp_path: Path) -> None:
    with pytest.raises(BadRows, match="row 5: column 'Date': 'Downloaded from example") as refused:
        read("line_below.csv", tmp_path)
    assert len(refused.value.faults) == 1
    assert read("line_below.csv", tmp_path, skip_bad=True)[0] == {"XYZ": BARS}


def test_a_high_that_is_a_rounding_off_is_clipped_and_counted(tmp_path: Path) -> None:
    bars, told = read("rounded_high.csv", tmp_path)
    assert bars["XYZ"][0].high == bars["XYZ"][0].close == 1240.5
    assert "clipped: 1 bars whose high or low is a rounding off" in told


@pytest.mark.parametrize(
    ("name", "hours"),
    [
        ("minutes_zone_name.csv", ["14:30", "14:31", "14:32"]),
        ("minutes_half_day.csv", ["13:00", "14:00", "15:00"]),
        ("minutes_compact.csv", ["09:30", "09:31", "09:32"]),
    ],
)
def test_times_of_day_are_read_in_their_zone(name: str, hours: list[str], tmp_path: Path) -> None:
    bars, _ = read(name, tmp_path)
    assert [f"{bar.ts:%H:%M}" for bar in bars["XYZ"]] == hours


def test_times_without_a_zone_are_in_the_one_that_is_given(tmp_path: Path) -> None:
    bars, told = read("minutes_compact.csv", tmp_path, zone="Asia/Tokyo")
    assert [f"{bar.ts:%H:%M}" for bar in bars["XYZ"]] == ["00:30", "00:31", "00:32"]
    assert any("Asia/Tokyo" in line for line in told)


def test_an_hour_that_comes_twice_is_read_twice(tmp_path: Path) -> None:
    bars, _ = read("clocks_go_back.csv", tmp_path, zone="Europe/London")
    assert [f"{bar.ts:%H:%M}" for bar in bars["XYZ"]] == ["00:00", "00:30", "01:00", "01:30", "02:00"]


def test_what_was_assumed_is_told(tmp_path: Path) -> None:
    _, told = read("german.csv", tmp_path)
    assert told == [
        "file: utf-8, columns separated by semicolon, data from line 2",
        "columns: date 'Datum', open 'Eröffnung', high 'Hoch', low 'Tief', close 'Schlusskurs', volume 'Stücke'",
        "adjustment: none, prices are taken as they are",
        "dates: read as date like 31.01.2020",
        "numbers: decimal comma",
        "volume: column 'Stücke'",
        "one bar a day: sessions are dates",
        "interval: bars of 2 days, 252 a year",
    ]


# --- what is asked, and what is refused ---


def test_dates_that_may_be_two_are_asked(tmp_path: Path) -> None:
    with pytest.raises(MissingColumns, match=r"'01/02/2020' may be two dates; .* --day-first or --month-first"):
        read("undecidable.csv", tmp_path)
    assert [bar.ts.month for bar in read("undecidable.csv", tmp_path / "a", first="day")[0]["XYZ"]] == [2, 2, 2]
    assert [bar.ts.month for bar in read("undecidable.csv", tmp_path / "b", first="month")[0]["XYZ"]] == [1, 2, 3]


def test_numbers_that_may_be_two_are_asked(tmp_path: Path) -> None:
    with pytest.raises(MissingColumns, match=r"'1,\d+' may be two numbers; .* --decimal point or --decimal comma"):
        read("ambiguous_numbers.csv", tmp_path)
    assert read("ambiguous_numbers.csv", tmp_path / "a", decimal="point")[0]["XYZ"][0].open == 1234
    assert read("ambiguous_numbers.csv", tmp_path / "b", decimal="comma")[0]["XYZ"][0].open == 1.234


def test_all_faults_are_told_in_one_answer_the_first_twenty_and_the_count(tmp_path: Path) -> None:
    with pytest.raises(BadRows) as refused:
        read("many_faults.csv", tmp_path)
    assert len(refused.value.faults) == 17
    message = str(refused.value)
    assert message.startswith(f"{FILES / 'many_faults.csv'}, row 3: column 'Close': 'ten' is not a number; row 5: ")
    assert "row 33: column 'Date': '2020-02-30' is not an ISO 8601 date" in message
    assert "row 34: column 'Volume': -5.0 is not between" in message
    assert message.endswith("or leave such rows out with --skip-bad")
    assert "\n" not in message


def test_more_faults_than_twenty_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("Date,Open,High,Low,Close,Volume\n" + "x,1,1,1,1,1\n" * 50)
    with pytest.raises(BadRows, match=r"row 21: .*; and 30 more, 50 in all; correct it") as refused:
        import_csv(file, tmp_path / "data", symbol="X")
    assert "row 22:" not in str(refused.value)


def test_a_table_without_a_header_asks_for_the_names(tmp_path: Path) -> None:
    with pytest.raises(
        MissingColumns, match=r"row 1: the table begins with data, .* --columns date,open,high,low,close"
    ):
        read("no_header.csv", tmp_path)


def test_a_table_without_volume_asks(tmp_path: Path) -> None:
    with pytest.raises(MissingColumns, match=r"no column for volume .* --no-volume"):
        read("no_volume.csv", tmp_path)


def test_a_volume_that_nobody_knows_limits_no_order_and_is_told(tmp_path: Path) -> None:
    bars, told = read("no_volume.csv", tmp_path, has_volume=False)
    assert [bar[1:5] for bar in bars["XYZ"]] == [numbers[:4] for numbers in NUMBERS]
    assert "volume: none, no order is limited by it" in told
    dataset = load_dataset(tmp_path / "no_volume.csv.gz")
    assert dataset.warnings == ("no volume of XYZ is known: it limits no order",)
    assert room(dataset.sessions[0].bars[0], Costs()) > 10**12


@pytest.mark.parametrize("date_format", ["%Y-%Y", "%", "%Q", "epoch-s", "serial", "\0"])
def test_a_date_format_that_fits_nothing_is_one_line(date_format: str, tmp_path: Path) -> None:
    with pytest.raises(BadRows, match="row 2: column 'Date': '2020-01-30' is not a") as refused:
        read("iso.csv", tmp_path, date_format=date_format)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "hex", "", "a\0b"])
def test_an_encoding_must_be_one(encoding: str, tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="is not an encoding; name one such as cp1252"):
        read("iso.csv", tmp_path, encoding=encoding)


def test_another_encoding_asks_for_its_name(tmp_path: Path) -> None:
    with pytest.raises(DamagedFile, match=r"not UTF-8 text; .* --encoding, such as cp1252"):
        read("german_cp1252.csv", tmp_path)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "Europe", "../etc/passwd", "", "EDT"])
def test_a_zone_must_be_one(zone: str, tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="is not a zone; name one such as Europe/Berlin"):
        read("minutes_compact.csv", tmp_path, zone=zone)


def test_no_zone_is_what_the_machine_takes_it_for(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="give the zone with --zone"):
        read("iso.csv", tmp_path, date_format="%Y-%m-%d %Z")


# --- whatever a file holds ---

cells = st.sampled_from(
    ["", "2020-01-31", "31.01.2020", "01/02/2020", "99999-99-99", "9" * 5000, "1e999", "nan", "null", "-", "10", "10,5", "1.2M",
     "$", "\x1b[31m", '"', "\x00", "Date", "Open", "High", "Low", "Close", "Volume", "Symbol", "XYZ.Open", "('Open', 'X')", "é", "٣",
     "2020-01-31 09:30 Mars", "0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "1580428800", "43861"]
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(cells, max_size=8), max_size=8),
    st.sampled_from(",;\t| "),
    st.sampled_from(["utf-8", "utf-16", "latin-1"]),
    st.booleans(),
)
def test_a_hostile_file_is_refused_in_one_line(
    tmp_path: Path, rows: list[list[str]], separator: str, encoding: str, skip_bad: bool
) -> None:
    file = tmp_path / "hostile.csv"
    head = ["Date", "Open", "High", "Low", "Close", "Volume"]
    text = "\n".join(separator.join(row) for row in ([head, *rows] if skip_bad else rows))
    file.write_bytes(text.encode(encoding, errors="replace"))
    try:
        import_csv(file, tmp_path / "data", symbol="X", replace=True, shape=Shape(skip_bad=skip_bad))
    except DataError as refused:
        assert not set("\n\x1b\x00") & set(str(refused))  # noqa: PT017 - most are refused, some are not
        assert refused.remedy  # noqa: PT017


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b\x08", b"\xff\xfe", b"\xef\xbb\xbf"]))
def test_odd_bytes_are_refused_in_one_line(tmp_path: Path, content: bytes, start: bytes) -> None:
    file = tmp_path / "odd.csv"
    file.write_bytes(start + content)
    with pytest.raises(DataError) as refused:
        import_csv(file, tmp_path / "data", symbol="X")
    assert "\n" not in str(refused.value)
