from __future__ import annotations

from pathlib import Path

import pytest

from quantum_trader.market.columns import Column, locate
from quantum_trader.market.errors import MissingColumns, Unusable

FILE = Path("mine.csv")


@pytest.mark.parametrize(
    "header",
    [
        "Date,Open,High,Low,Close,Adj Close,Volume",
        "timestamp,open,high,low,close,adjusted_close,volume",
        "DATE, O, H, L, C, adj. close, VOL",
        "datetime,open price,high price,low price,Close/Last,closeadj,v",
    ],
)
def test_common_headers_are_recognised(header: str) -> None:
    found = locate(header.split(","), {}, FILE)
    places = {field: column.place for field, column in found.items()}
    assert places == {"date": 0, "open": 1, "high": 2, "low": 3, "close": 4, "adj_close": 5, "volume": 6}


def test_headers_are_kept_as_written() -> None:
    found = locate([" Ticker ", "DATE", "open", "high", "low", "close", "volume"], {}, FILE)
    assert (found["symbol"], found["date"]) == (Column(0, "Ticker"), Column(1, "DATE"))
    assert "adj_close" not in found


def test_a_map_names_headers_of_any_language() -> None:
    header = ["Tag", "Eröffnung", "Hoch", "Tief", "Schluss", "Stück", "high"]
    wanted = {
        "date": "Tag",
        "open": "Eröffnung",
        "high": "Hoch",
        "low": "Tief",
        "close": "Schluss",
        "volume": "Stück",
    }
    assert locate(header, wanted, FILE)["high"] == Column(2, "Hoch")


def test_missing_columns_are_all_named_beside_those_there() -> None:
    with pytest.raises(MissingColumns) as raised:
        locate(["Date", "Open", "Kurs"], {}, FILE)
    assert raised.value.columns == ("high", "low", "close", "volume")
    assert str(raised.value) == (
        "mine.csv, row 1: no column for high, low, close, volume (columns are 'Date', 'Open', 'Kurs'); "
        "map them with --column FIELD=HEADER"
    )


def test_an_empty_file_has_no_columns() -> None:
    with pytest.raises(MissingColumns, match=r"no column for date, .* \(columns are none\)"):
        locate([], {}, FILE)


def test_a_mapped_header_must_be_there_even_for_an_optional_field() -> None:
    header = ["date", "open", "high", "low", "close", "volume"]
    with pytest.raises(MissingColumns, match="no column for adj_close"):
        locate(header, {"adj_close": "Adjusted"}, FILE)


def test_two_candidates_need_a_choice() -> None:
    header = ["Date", "Open", "High", "Low", "Close", "Volume", "Vol."]
    with pytest.raises(
        MissingColumns, match=r"volume could be any of 'Volume', 'Vol\.'; map volume to one of them, such as"
    ):
        locate(header, {}, FILE)
    assert locate(header, {"volume": "Vol."}, FILE)["volume"].place == 6


def test_a_date_may_be_in_two_columns_and_a_time_may_be_all_there_is() -> None:
    prices = ["Open", "High", "Low", "Close", "Volume"]
    both = locate(["Date", "Time", *prices], {}, FILE)
    assert (both["date"].place, both["time"].place) == (0, 1)
    alone = locate(["time", *prices], {}, FILE)
    assert alone["date"].place == 0
    assert "time" not in alone


@pytest.mark.parametrize(
    "header",
    [
        "Datum;Eröffnung;Hoch;Tief;Schlusskurs;Stücke",
        "Date;Ouverture;Plus haut;Plus bas;Clôture;Volume",
        "Fecha;Apertura;Máximo;Mínimo;Cierre;Volumen",
        "Datum;Eröffn.;Hoch;Tief;Zuletzt;Vol.",
        "<DATE>;<OPEN>;<HIGH>;<LOW>;<CLOSE>;<VOL>",
        "t;o;h;l;c;v",
    ],
)
def test_headers_of_other_languages_and_in_short_are_known(header: str) -> None:
    found = locate(header.split(";"), {}, FILE)
    assert [found[field].place for field in ("date", "open", "high", "low", "close", "volume")] == [0, 1, 2, 3, 4, 5]


def test_a_missing_volume_may_be_done_without() -> None:
    header = ["Date", "Open", "High", "Low", "Close"]
    with pytest.raises(MissingColumns, match=r"no column for volume .*, or go without with --no-volume"):
        locate(header, {}, FILE)
    assert "volume" not in locate(header, {}, FILE, has_volume=False)


def test_a_map_of_an_unknown_field_is_refused() -> None:
    with pytest.raises(Unusable, match="'openn' is not a field; map only date, time, symbol, open"):
        locate(["Date"], {"openn": "Open"}, FILE)
