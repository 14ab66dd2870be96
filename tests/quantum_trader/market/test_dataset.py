from __future__ import annotations

import csv
import gzip
import hashlib
import json
import math
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from shutil import copy

import pytest

from quantum_trader.market import errors, layout
from quantum_trader.market.adjust import RawBar, factors
from quantum_trader.market.calendar import parse_ts
from quantum_trader.market.dataset import SHIPPED, Dataset, load_dataset
from quantum_trader.market.errors import DamagedFile, DataError, EmptyRange, MissingFile, UnknownSymbol
from quantum_trader.market.validate import AnomalyKind, FeedCheck

ORACLE = Path(__file__).parents[2] / "data" / "oracle"


@pytest.fixture(scope="module")
def demo() -> Dataset:
    return load_dataset()


# --- the shipped bars ---


def test_demo_has_the_stated_counts(demo: Dataset) -> None:
    assert {symbol: len(bars) for symbol, bars in demo.by_symbol().items()} == {
        "AAPL": 3_270,
        "FB": 196,
        "GOOG": 2_148,
        "IBM": 3_270,
        "MSFT": 3_270,
    }
    assert (len(demo), demo.bar_count) == (3_270, 12_154)


def test_demo_runs_between_the_stated_days(demo: Dataset) -> None:
    first = {symbol: bars[0].ts.date().isoformat() for symbol, bars in demo.by_symbol().items()}
    assert first == {
        "AAPL": "2000-03-01",
        "FB": "2012-05-18",
        "GOOG": "2004-08-19",
        "IBM": "2000-03-01",
        "MSFT": "2000-03-01",
    }
    assert {bars[-1].ts for bars in demo.by_symbol().values()} == {datetime(2013, 3, 1, tzinfo=UTC)}


def test_demo_is_the_data_of_the_oracle() -> None:
    reference = json.loads((ORACLE / "E_portfolio5_fee.reference.json").read_bytes())
    _, rows = layout.read(SHIPPED)
    assert {symbol: as_the_oracle_saw(bars) for symbol, bars in rows.items()} == reference["data_sha256"]


def as_the_oracle_saw(rows: list[RawBar]) -> str:
    """The fingerprint of adjusted bars with six decimals and whole volumes, which the other engines were given."""
    lines = []
    for row, k in zip(rows, factors(rows), strict=True):
        prices = ",".join(f"{round(price * k, 6):.6f}" for price in (row.open, row.high, row.low, row.close))
        lines.append(f"{row.ts.date()},{prices},{round(row.volume / k)}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_demo_calendar_is_that_of_the_oracle(demo: Dataset) -> None:
    with (ORACLE / "E_portfolio5_fee.equity.csv").open() as file:
        assert [row["date"] for row in csv.DictReader(file)] == [s.ts.date().isoformat() for s in demo]


def test_symbols_have_no_gap_after_their_listing(demo: Dataset) -> None:
    for bars in demo.by_symbol().values():
        assert [bar.session for bar in bars] == list(range(bars[0].session, 3_270))


def test_apple_really_fell_by_half(demo: Dataset) -> None:
    _, rows = layout.read(SHIPPED)
    before, after = next(p for p in pairwise(rows["AAPL"]) if p[1].ts == datetime(2000, 9, 29, tzinfo=UTC))
    assert (before.close, after.open) == (53.5, 28.19)
    adjusted = {bar.ts: bar for bar in demo.by_symbol()["AAPL"]}
    gap = adjusted[after.ts].open / adjusted[before.ts].close
    assert gap == pytest.approx(28.19 / 53.5, abs=1e-6)
    assert adjusted[after.ts].close / adjusted[before.ts].close - 1 == pytest.approx(-0.519, abs=5e-4)


def test_no_split_is_left_as_a_jump(demo: Dataset) -> None:
    check = FeedCheck()
    said = [anomaly for session in demo for bar in session.bars for anomaly in check.bar(bar).anomalies]
    said += check.end_session(len(demo) - 1)
    assert [(a.symbol, demo.sessions[a.session].ts.date().isoformat(), a.kind) for a in said] == [
        ("AAPL", "2000-09-29", AnomalyKind.JUMP)
    ]


def test_raw_prices_would_show_splits_as_jumps() -> None:
    _, rows = layout.read(SHIPPED)
    jumps = {
        (symbol, after.ts.date().isoformat())
        for symbol, of_symbol in rows.items()
        for before, after in pairwise(of_symbol)
        if abs(math.log(after.open / before.close)) > math.log(1.4)
    }
    assert jumps == {
        ("AAPL", "2000-06-21"),
        ("AAPL", "2000-09-29"),
        ("AAPL", "2005-02-28"),
        ("MSFT", "2003-02-18"),
    }


# --- shape ---


def test_sessions_count_from_zero_and_hold_sorted_bars(demo: Dataset) -> None:
    for number, session in enumerate(demo):
        assert session.session == number
        symbols = [bar.symbol for bar in session.bars]
        assert symbols == sorted(symbols)
        assert all(bar.session == number and bar.ts == session.ts for bar in session.bars)


def test_times_are_utc_midnight(demo: Dataset) -> None:
    assert {(s.ts.hour, s.ts.minute, s.ts.tzinfo) for s in demo} == {(0, 0, UTC)}


def test_iterating_twice_gives_the_same(demo: Dataset) -> None:
    assert list(demo) == list(demo) == list(demo.sessions)


# --- choosing ---


def test_a_symbol_has_a_calendar_of_its_own() -> None:
    goog = load_dataset(symbols=["GOOG"])
    assert goog.symbols == ("GOOG",)
    assert len(goog) == goog.bar_count == 2_148
    assert goog.sessions[0].ts.date() == date(2004, 8, 19)


def test_symbols_are_sorted_and_counted_once() -> None:
    assert load_dataset(symbols=["IBM", "AAPL", "IBM"], end=date(2000, 3, 3)).symbols == ("AAPL", "IBM")
    assert load_dataset(symbols="IBM", end=date(2000, 3, 3)).symbols == ("IBM",)


def test_a_range_contains_both_its_ends(demo: Dataset) -> None:
    cut = load_dataset(start=date(2012, 5, 17), end=date(2012, 5, 18))
    assert [[bar.symbol for bar in session.bars] for session in cut] == [
        ["AAPL", "GOOG", "IBM", "MSFT"],
        ["AAPL", "FB", "GOOG", "IBM", "MSFT"],
    ]
    assert [session.session for session in cut] == [0, 1]
    assert cut.sha256 == demo.sha256


def test_a_range_of_instants_contains_both_its_ends() -> None:
    first, last = datetime(2012, 5, 17, tzinfo=UTC), datetime(2012, 5, 18, tzinfo=UTC)
    assert [session.ts for session in load_dataset(start=first, end=last)] == [first, last]


def test_what_comes_later_changes_no_price(demo: Dataset) -> None:
    cut = load_dataset(end=date(2001, 12, 31))
    assert cut.sessions == demo.sessions[: len(cut)]


def test_a_symbol_without_a_bar_in_the_range_stays_in_the_universe() -> None:
    cut = load_dataset(symbols=["AAPL", "FB"], end=date(2000, 3, 31))
    assert cut.symbols == ("AAPL", "FB")
    assert cut.by_symbol()["FB"] == []


# --- refusals ---


def test_an_unknown_symbol_is_told_the_known_ones() -> None:
    with pytest.raises(UnknownSymbol, match="unknown symbol 'TSLA'; known are AAPL, FB, GOOG, IBM, MSFT") as raised:
        load_dataset(symbols=["AAPL", "TSLA"])
    assert (raised.value.symbol, raised.value.known) == ("TSLA", ("AAPL", "FB", "GOOG", "IBM", "MSFT"))


@pytest.mark.parametrize(
    ("start", "end"),
    [(date(2013, 3, 2), None), (None, date(2000, 2, 29)), (date(2005, 1, 2), date(2005, 1, 1))],
)
def test_an_empty_range_is_told_what_there_is(start: date | None, end: date | None) -> None:
    with pytest.raises(EmptyRange, match=r"choose within 2000-03-01 \.\. 2013-03-01"):
        load_dataset(start=start, end=end)


def test_an_empty_range_speaks_of_the_chosen_symbols() -> None:
    with pytest.raises(EmptyRange, match=r"no bar of FB .* choose within 2012-05-18 \.\. 2013-03-01"):
        load_dataset(symbols=["FB"], end=date(2010, 1, 1))


def test_no_symbols_are_refused() -> None:
    with pytest.raises(EmptyRange, match="no symbol was chosen; name at least one"):
        load_dataset(symbols=[])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"nothing\.csv\.gz: no such file; check the path"):
        load_dataset(tmp_path / "nothing.csv.gz")


def test_damaged_demo_bars_are_not_loaded(tmp_path: Path) -> None:
    path = Path(copy(SHIPPED, tmp_path))
    copy(layout.manifest_path(SHIPPED), tmp_path)
    assert load_dataset(path).bar_count == 12_154
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"53.5,", b"53.6,", 1)))
    with pytest.raises(DamagedFile, match=r"demo\.csv\.gz: the content does not match the digest") as raised:
        load_dataset(path)
    assert raised.value.file == path
    assert isinstance(raised.value, DataError)


# --- symbols that do not meet ---


def meeting(directory: Path, shared: int) -> Path:
    """Symbols of a hundred sessions each within the same dates, `shared` of them common."""
    days = [f"2020-{1 + n // 28:02}-{1 + n % 28:02}" for n in range(300)]
    theirs = {"AAA": days[:100] + days[299:], "BBB": days[:shared] + days[100 : 200 - shared] + days[299:]}
    lines = {
        symbol: [
            layout.line(symbol, RawBar(parse_ts(day), 10.0, 11.0, 9.0, 10.0, 100.0, 10.0)) for day in sorted(dates)
        ]
        for symbol, dates in theirs.items()
    }
    return layout.write(directory, "meeting", "made", lines)


def test_symbols_that_share_less_than_half_of_their_sessions_are_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(errors.Misaligned, match=r"AAA and BBB share 41 of 101 sessions .*--align outer"):
        load_dataset(meeting(tmp_path, 40))
    assert len(load_dataset(meeting(tmp_path, 40), align="outer")) > 101


def test_symbols_that_share_less_than_nine_tenths_are_named(tmp_path: Path) -> None:
    assert load_dataset(meeting(tmp_path, 80)).warnings == ("AAA and BBB share 81 of 101 sessions",)
    assert load_dataset(meeting(tmp_path, 95)).warnings == ()


def test_a_late_listing_is_no_misalignment(demo: Dataset) -> None:
    assert demo.warnings == ()


def test_a_symbol_of_which_more_than_a_hundredth_would_be_dropped_is_refused(tmp_path: Path) -> None:
    rows = [RawBar(parse_ts(f"2020-01-{day:02}"), 10.0, 11.0, 9.0, 10.0, 100.0, 10.0) for day in range(1, 29)]
    rows[3] = rows[3]._replace(high=5.0)
    file = layout.write(tmp_path, "torn", "made", {"AAA": [layout.line("AAA", row) for row in rows]})
    with pytest.raises(errors.DamagedFile, match="1 of 28 bars of AAA make no sense"):
        load_dataset(file)
