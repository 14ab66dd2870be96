from __future__ import annotations

import gzip
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantum_trader.market import errors, layout
from quantum_trader.market.adjust import RawBar
from quantum_trader.market.calendar import dates_of
from quantum_trader.market.csv_import import import_csv
from quantum_trader.market.dataset import SHIPPED, load_dataset
from quantum_trader.market.errors import (
    BadRows,
    DamagedFile,
    DataError,
    MissingColumns,
    MissingFile,
    NotWritten,
    Unusable,
)
from quantum_trader.market.importing.shape import Shape

HEADER = "Date,Open,High,Low,Close,Volume\n"
GOOD = "2020-01-02,10,11,9,10.5,1000\n2020-01-03,10.5,12,10,11,1100\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "prices.csv"
    path.write_text(HEADER + GOOD)
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data"


# --- what is taken ---


def test_an_imported_file_loads_like_the_shipped_one(source: Path, directory: Path) -> None:
    path = import_csv(source, directory, symbol="XYZ")
    assert path == directory / "prices.csv.gz"
    dataset = load_dataset(path)
    assert (dataset.name, dataset.symbols, len(dataset)) == ("prices", ("XYZ",), 2)
    bar = dataset.sessions[0].bars[0]
    assert (bar.ts, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.adj_factor) == (
        datetime(2020, 1, 2, tzinfo=UTC), 10.0, 11.0, 9.0, 10.5, 1000, 1.0
    )  # fmt: skip
    assert layout.read_manifest(path).source == "imported from prices.csv"


def test_the_shipped_bars_survive_an_import(tmp_path: Path, directory: Path) -> None:
    plain = tmp_path / "again.csv"
    plain.write_bytes(gzip.decompress(SHIPPED.read_bytes()))
    again = load_dataset(import_csv(plain, directory, jumps="allow"))
    assert again.digests() == load_dataset().digests()
    assert again.sha256 == load_dataset().sha256


def test_a_gzipped_file_is_taken_as_it_is(directory: Path) -> None:
    assert load_dataset(import_csv(SHIPPED, directory, name="copy", jumps="allow")).bar_count == 12_154


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_separators_are_recognised(source: Path, directory: Path, delimiter: str) -> None:
    source.write_text((HEADER + GOOD).replace(",", delimiter))
    assert load_dataset(import_csv(source, directory, symbol="X")).bar_count == 2


def test_byte_order_mark_blank_rows_quotes_and_dos_line_ends_are_taken(source: Path, directory: Path) -> None:
    text = HEADER + "\n" + GOOD.replace("2020-01-02", '"2020-01-02"') + ",,,,,\n\n"
    source.write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert load_dataset(import_csv(source, directory, symbol="X", shape=Shape(columns={"date": "Date"}))).bar_count == 2


def test_symbols_may_be_mixed_in_one_file(source: Path, directory: Path) -> None:
    source.write_text(
        "ticker," + HEADER + "".join(f"{symbol},{line}\n" for line in GOOD.splitlines() for symbol in ("ZZ", "AA"))
    )
    dataset = load_dataset(import_csv(source, directory))
    assert [[bar.symbol for bar in session.bars] for session in dataset] == [["AA", "ZZ"], ["AA", "ZZ"]]


def test_an_adjusted_close_adjusts(source: Path, directory: Path) -> None:
    source.write_text(
        "Date,Open,High,Low,Close,Adj Close,Volume\n2020-01-02,100,100,100,100,5,10\n2020-01-03,50,50,50,50,5,10\n"
    )
    first, last = load_dataset(import_csv(source, directory, symbol="X")).by_symbol()["X"]
    assert (first.close, first.volume, last.close, last.volume) == (50.0, 20, 50.0, 10)


def test_dates_may_have_a_format_and_columns_a_map(source: Path, directory: Path) -> None:
    source.write_text("Tag,Open,High,Low,Close,Volume\n31.12.2019,1,1,1,1,1\n02.01.2020,1,1,1,1,1\n")
    path = import_csv(source, directory, symbol="X", shape=Shape(columns={"date": "Tag"}, date_format="%d.%m.%Y"))
    assert [session.ts.date() for session in load_dataset(path)] == [date(2019, 12, 31), date(2020, 1, 2)]


def test_hours_make_sessions_of_their_own(source: Path, directory: Path) -> None:
    source.write_text(HEADER + "2020-01-02 09:00,1,1,1,1,1\n2020-01-02 10:00,1,1,1,1,1\n")
    dataset = load_dataset(import_csv(source, directory, symbol="EUR/USD"))
    assert [session.ts.hour for session in dataset] == [9, 10]
    assert len(load_dataset(dataset.file, end=date(2020, 1, 2))) == 2


def test_a_volume_is_a_number_and_needs_not_be_whole(source: Path, directory: Path) -> None:
    source.write_text(HEADER + "2020-01-02,1,1,1,1,0.41\n")
    assert load_dataset(import_csv(source, directory, symbol="X")).sessions[0].bars[0].volume == 0.41


def test_a_set_is_replaced_only_when_told(source: Path, directory: Path) -> None:
    import_csv(source, directory, symbol="X")
    with pytest.raises(Unusable, match="data set 'prices' exists; give another name, or replace it"):
        import_csv(source, directory, symbol="Y")
    path = import_csv(source, directory, symbol="Y", replace=True)
    assert load_dataset(path).symbols == ("Y",)


cents = st.integers(1, 10_000_000).map(lambda n: n / 100)


@st.composite
def raw_bars(draw: st.DrawFn) -> RawBar:
    low, open_, close, high = sorted(draw(st.tuples(cents, cents, cents, cents)))
    ts = draw(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
    adj_close = draw(st.floats(0.01, 1e6))
    return RawBar(ts, open_, high, low, close, draw(st.integers(0, 10**15)), adj_close)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["AAPL", "BRK.B", "EUR/USD", "^GSPC"]),
        st.lists(raw_bars(), min_size=1, max_size=4, unique_by=lambda row: row.ts).map(sorted),
        min_size=1,
    )
)
def test_any_sound_bars_come_back_as_they_were(tmp_path: Path, bars: dict[str, list[RawBar]]) -> None:
    source = tmp_path / "any.csv"
    lines = [layout.line(symbol, row) for symbol, rows in bars.items() for row in rows]
    source.write_text(layout.HEADER + "\n" + "".join(lines))
    manifest, rows = layout.read(import_csv(source, tmp_path, replace=True, jumps="allow"))
    if dates_of({symbol: [row.ts for row in own] for symbol, own in bars.items()}):
        bars = {symbol: [row._replace(ts=midnight(row.ts)) for row in own] for symbol, own in bars.items()}
    assert rows == bars
    assert manifest.rows == {symbol: len(of_symbol) for symbol, of_symbol in bars.items()}


def midnight(ts: datetime) -> datetime:
    return datetime(ts.year, ts.month, ts.day, tzinfo=UTC)


# --- what is refused ---


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2020-01-04,10,11,9,ten,1000", "column 'Close': 'ten' is not a number; write a plain number such as 1234.5"),
        ("2020-01-04,10,11,9,NaN,1000", "column 'Close': 'NaN' is not a number"),
        ("2020-01-04,inf,11,9,10,1000", "column 'Open': 'inf' is not a number"),
        ("2020-01-04,1_0,11,9,10,1000", "column 'Open': '1_0' is not a number"),
        ('2020-01-04,10,11,9,10,"1,00"', "column 'Volume': '1,00' is not a number"),
        (
            "2020-01-04,-10,11,9,10,1000",
            "column 'Open': -10.0 is not between 1e-09 and 1e+12; correct or remove",
        ),
        ("2020-01-04,10,11,0,10,1000", "column 'Low': 0.0 is not between"),
        ("2020-01-04,10,1e300,9,10,1000", "column 'High': 1e+300 is not between"),
        ("2020-01-04,10,11,9,10,1e16", "column 'Volume': 1e+16 is not between 0 and 1e+15"),
        ("0001-01-01T00:00+01:00,10,11,9,10,1", "column 'Date': '0001-01-01T00:00+01:00' is not an ISO"),
        ("2020-01-04,10,11,9,10,-1", "column 'Volume': -1.0 is not between 0 and 1e+15"),
        ("2020-01-04,10,11,9,,1000", "column 'Close': the cell is empty; fill it, or remove the row"),
        ("2020-01-04,10,11,9", "column 'Close': the cell is empty"),
        ("2020-01-04,10,9.5,9,10,1000", "high 9.5 is below 10.0; correct or remove the row"),
        ("2020-01-04,10,11,10.5,10,1000", "low 10.5 is above 10.0"),
        ("2020-01-03,10,11,9,10,1000", "column 'Date': a second row for 2020-01-03; keep one of the two"),
        (
            "2020-01-02,10,11,9,10,1000",
            "column 'Date': 2020-01-02 comes after 2020-01-03; sort the rows by date, oldest first",
        ),
        ("04/01/2020,10,11,9,10,1000", "column 'Date': '04/01/2020' is not an ISO 8601 date; correct it, or give"),
        ('2020-01-04,"10,11,9,10,1000', "not CSV (unexpected end of data); check quotes and line ends"),
    ],
)
def test_a_senseless_row_stops_the_import(source: Path, directory: Path, row: str, message: str) -> None:
    source.write_text(HEADER + GOOD + row + "\n")
    with pytest.raises(BadRows) as raised:
        import_csv(source, directory, symbol="X")
    assert str(raised.value).startswith(f"{source}, row 4: {message}")
    assert (raised.value.file, raised.value.row) == (source, 4)
    assert "\n" not in str(raised.value)
    assert not directory.exists()


def test_rows_are_counted_as_in_an_editor(source: Path, directory: Path) -> None:
    source.write_text(HEADER + "\n\n" + GOOD + "\nnonsense\n")
    with pytest.raises(BadRows, match="row 7: column 'Date': 'nonsense' is not"):
        import_csv(source, directory, symbol="X")


def test_order_is_judged_by_symbol(source: Path, directory: Path) -> None:
    rows = [("A", 2), ("A", 3), ("B", 2), ("B", 2)]
    source.write_text("Symbol," + HEADER + "".join(f"{symbol},2020-01-0{day},1,1,1,1,1\n" for symbol, day in rows))
    with pytest.raises(BadRows, match="row 5: column 'Date': a second row for 2020-01-02"):
        import_csv(source, directory)


def test_a_cell_that_is_no_symbol_is_refused_on_one_line(source: Path, directory: Path) -> None:
    source.write_text("Symbol," + HEADER + '"BAD\nNAME",2020-01-02,1,1,1,1,1\n')
    with pytest.raises(BadRows, match=r"row 3: column 'Symbol': 'BAD\\nNAME' is not a symbol") as raised:
        import_csv(source, directory)
    assert "\n" not in str(raised.value)
    assert raised.value.column == "Symbol"


def test_a_long_cell_is_shown_short(source: Path, directory: Path) -> None:
    source.write_text(HEADER + "9" * 10_000 + ",1,1,1,1,1\n")
    with pytest.raises(BadRows) as raised:
        import_csv(source, directory, symbol="X")
    assert len(str(raised.value)) < len(str(source)) + 200


@pytest.mark.parametrize("text", [HEADER, HEADER + "\n\n"])
def test_a_file_without_rows_is_refused(source: Path, directory: Path, text: str) -> None:
    source.write_text(text)
    with pytest.raises(BadRows, match="the file has no rows"):
        import_csv(source, directory, symbol="X")


def test_missing_columns_are_named(source: Path, directory: Path) -> None:
    source.write_text("Date,Open,Close\n2020-01-02,1,1\n")
    with pytest.raises(MissingColumns, match=r"row 1: no column for high, low, volume \(columns are 'Date', 'Open'"):
        import_csv(source, directory, symbol="X")


def test_an_empty_file_has_no_columns(source: Path, directory: Path) -> None:
    source.write_text("")
    with pytest.raises(MissingColumns, match=r"columns are none"):
        import_csv(source, directory, symbol="X")


def test_bars_must_be_of_something(source: Path, directory: Path) -> None:
    with pytest.raises(MissingColumns, match="no column says the symbol; give the symbol, or map its column"):
        import_csv(source, directory)


def test_two_answers_to_what_the_bars_are_of_are_refused(source: Path, directory: Path) -> None:
    source.write_text("Symbol," + HEADER + "A,2020-01-02,1,1,1,1,1\n")
    with pytest.raises(Unusable, match="column 'Symbol' already says the symbol; do not give one"):
        import_csv(source, directory, symbol="B")


@pytest.mark.parametrize("symbol", ["", "A B", "A,B", "A\nB", "-A"])
def test_a_given_symbol_must_be_one(source: Path, directory: Path, symbol: str) -> None:
    with pytest.raises(Unusable, match="is not a symbol; write it without spaces"):
        import_csv(source, directory, symbol=symbol)


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a b", "x" * 65, "demo"])
def test_a_name_must_be_a_plain_word_of_its_own(source: Path, directory: Path, name: str) -> None:
    with pytest.raises(Unusable, match=r"give a(nother)? name"):
        import_csv(source, directory, name=name, symbol="X")
    assert not directory.exists()


def test_an_absent_file_is_missing(tmp_path: Path, directory: Path) -> None:
    with pytest.raises(MissingFile, match=r"none\.csv: no such file; check the path"):
        import_csv(tmp_path / "none.csv", directory, symbol="X")


def test_a_directory_is_not_a_file(tmp_path: Path, directory: Path) -> None:
    with pytest.raises(MissingFile, match="cannot be read"):
        import_csv(tmp_path, directory, symbol="X", name="mine")


def test_other_encodings_are_refused(source: Path, directory: Path) -> None:
    source.write_bytes((HEADER + GOOD).encode() + b"\xff\xfe")
    with pytest.raises(DamagedFile, match="not UTF-8 text; save it as CSV with UTF-8"):
        import_csv(source, directory, symbol="X")


def test_a_torn_gzip_file_is_refused(tmp_path: Path, directory: Path) -> None:
    source = tmp_path / "prices.csv.gz"
    source.write_bytes(gzip.compress((HEADER + GOOD).encode())[:-12])
    with pytest.raises(DamagedFile, match="not a whole gzip file"):
        import_csv(source, directory, symbol="X")


def test_a_directory_that_cannot_be_written_is_named(source: Path, directory: Path) -> None:
    directory.write_text("in the way")
    with pytest.raises(NotWritten, match="cannot be written"):
        import_csv(source, directory, symbol="X")


def test_a_refused_replacement_leaves_the_old_set(source: Path, directory: Path) -> None:
    path = import_csv(source, directory, symbol="X")
    before = path.read_bytes()
    source.write_text(HEADER + GOOD + "2020-01-01,1,1,1,1,1\n")
    with pytest.raises(DataError):
        import_csv(source, directory, symbol="X", replace=True)
    assert path.read_bytes() == before
    assert load_dataset(path).bar_count == 2


def test_the_newest_first_is_turned_round(source: Path, directory: Path) -> None:
    days = [date(2020, 1, 9) - timedelta(days=i) for i in range(3)]
    source.write_text(HEADER + "".join(f"{day},1,1,1,1,1\n" for day in days))
    told: list[str] = []
    dataset = load_dataset(import_csv(source, directory, symbol="X", note=told.append))
    assert [session.ts.date() for session in dataset] == days[::-1]
    assert "order: newest first, turned round" in told


# --- jumps ---

SPLIT = HEADER + "2020-01-02,100,101,99,100,1000\n2020-01-03,10.1,10.2,9.9,10,9000\n2020-01-06,10,10.5,9.9,10.4,9500\n"


def test_a_jump_beyond_a_fifth_is_refused_with_the_nearest_split(source: Path, directory: Path) -> None:
    source.write_text(SPLIT)
    with pytest.raises(
        errors.Jumps, match=r"X on 2020-01-03: close 100 to 10 \(-90.0 %\), like a split of 10:1"
    ) as refused:
        import_csv(source, directory, symbol="X")
    assert "--allow-jumps" in refused.value.remedy
    assert "--adjust-splits" in refused.value.remedy
    assert not directory.exists()


def test_jumps_are_kept_where_that_is_wanted(source: Path, directory: Path) -> None:
    source.write_text(SPLIT)
    dataset = load_dataset(import_csv(source, directory, symbol="X", jumps="allow"))
    assert [session.bars[0].close for session in dataset] == [100, 10, 10.4]


def test_splits_are_adjusted_where_that_is_wanted_prices_and_volumes(source: Path, directory: Path) -> None:
    source.write_text(SPLIT)
    told: list[str] = []
    dataset = load_dataset(import_csv(source, directory, symbol="X", jumps="adjust", note=told.append))
    assert told[-1] == "adjusted: X on 2020-01-03: close 100 to 10 (-90.0 %), like a split of 10:1"
    bars = [session.bars[0] for session in dataset]
    assert [bar.close for bar in bars] == [10, 10, 10.4]
    assert [bar.volume for bar in bars] == [10_000, 9_000, 9_500]


def test_a_jump_that_is_no_split_is_not_adjusted_away(source: Path, directory: Path) -> None:
    source.write_text(SPLIT.replace("10.1,10.2,9.9,10,", "41,42,40,41,").replace("10,10.5,9.9,10.4", "41,42,40,41"))
    with pytest.raises(errors.Jumps, match=r"close 100 to 41 \(-59.0 %\), no usual split"):
        import_csv(source, directory, symbol="X", jumps="adjust")


def test_a_gap_overnight_counts_though_the_close_comes_back(source: Path, directory: Path) -> None:
    source.write_text(SPLIT.replace("10.1,10.2,9.9,10,", "50,101,49,99,").replace("10,10.5,9.9,10.4", "99,100,98,99"))
    with pytest.raises(errors.Jumps, match=r"close 100 to open 50 \(-50.0 %\), like a split of 2:1"):
        import_csv(source, directory, symbol="X")


def test_a_vendor_s_own_adjustment_leaves_no_jump(source: Path, directory: Path) -> None:
    source.write_text(
        "Date,Open,High,Low,Close,Volume,Adj Close\n2020-01-02,100,101,99,100,1000,10\n2020-01-03,10.1,10.2,9.9,10,9000,10\n"
    )
    assert load_dataset(import_csv(source, directory, symbol="X")).bar_count == 2


# --- days and instants ---


@pytest.mark.parametrize("time", ["00:00:00", "16:00:00"])
def test_a_daily_bar_has_the_date_of_its_exchange_in_whatever_zone(source: Path, directory: Path, time: str) -> None:
    rows = [
        f"{symbol},2020-01-{day:02}T{time}{offset},10,11,9,10,1000\n"
        for symbol, offset in (("NYC", "-05:00"), ("TYO", "+09:00"), ("LON", "+00:00"))
        for day in range(6, 11)
    ]
    source.write_text("Symbol," + HEADER + "".join(rows))
    dataset = load_dataset(import_csv(source, directory))
    assert [session.ts.date().day for session in dataset] == [6, 7, 8, 9, 10]
    assert all(len(session.bars) == 3 for session in dataset)


def test_an_intraday_bar_keeps_its_instant(source: Path, directory: Path) -> None:
    rows = [f"2020-01-06T{hour:02}:00:00-05:00,10,11,9,10,1000\n" for hour in (9, 10, 11)]
    source.write_text(HEADER + "".join(rows))
    dataset = load_dataset(import_csv(source, directory, symbol="X"))
    assert [session.ts.hour for session in dataset] == [14, 15, 16]
