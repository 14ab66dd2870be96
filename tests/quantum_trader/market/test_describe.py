from __future__ import annotations

from datetime import UTC, date, datetime

from quantum_trader.market.dataset import load_dataset
from quantum_trader.market.describe import describe


def midnight(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def test_rows_tell_splits_from_jumps() -> None:
    demo = load_dataset()
    rows = {row.symbol: row for row in describe(demo)}
    assert list(rows) == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    apple = rows["AAPL"]
    assert (apple.bars, apple.first, apple.last) == (3_270, midnight("2000-03-01"), midnight("2013-03-01"))
    assert apple.splits == (midnight("2000-06-21"), midnight("2005-02-28"))
    assert apple.jumps == (midnight("2000-09-29"),)
    assert rows["MSFT"].splits == (midnight("2003-02-18"),), "its special dividend is not a split"
    assert [rows[symbol].splits + rows[symbol].jumps for symbol in ("FB", "GOOG", "IBM")] == [(), (), ()]
    assert {symbol: row.sha256 for symbol, row in rows.items()} == demo.digests()


def test_a_symbol_without_bars_has_a_row() -> None:
    fb = describe(load_dataset(end=date(2000, 3, 3)))[1]
    assert (fb.symbol, fb.bars, fb.first, fb.last, fb.splits, fb.jumps) == ("FB", 0, None, None, (), ())
