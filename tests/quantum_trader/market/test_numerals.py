from __future__ import annotations

import math

import pytest

from quantum_trader.market.importing.numerals import NumeralEvidence, number_in


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("10.5", 10.5),
        ("1,234.5", 1234.5),
        ("12,34,567.5", 1234567.5),
        ("$1,234.50", 1234.5),
        ("1234.5 €", 1234.5),
        ("USD 10.5", 10.5),
        ("10.5 CHF", 10.5),
        ("1'234.5", 1234.5),
        ("1\u202f234.5", 1234.5),
        ("1.2M", 1_200_000.0),
        ("3.5k", 3500.0),
        ("1.1B", 1.1e9),
        ("1.2 Mio.", 1_200_000.0),
        ("4.1E-07", 4.1e-7),
        ("-3", -3.0),
        (".5", 0.5),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, number: float) -> None:
    assert number_in(text, "point") == number
    swapped = text.translate(str.maketrans(".,", ",."))
    if not text.endswith("."):
        assert number_in(swapped, "comma") == number


@pytest.mark.parametrize(
    "text", ["", "ten", "1_0", "1,00", "1,2,3", "1.2.3", "1..2", "1e", "--1", ",", "1.2X", "null", "10/2", "9" * 5000]
)
def test_what_is_no_number_is_none(text: str) -> None:
    assert not math.isfinite(number_in(text, "point"))


@pytest.mark.parametrize(
    ("cells", "decimal"),
    [
        (["10.5"], "point"),
        (["10,5"], "comma"),
        (["1.234,5"], "comma"),
        (["1,234.5"], "point"),
        (["1.234.567"], "comma"),
        (["1,234,567"], "point"),
        (["0,123"], "comma"),
        (["1234,567"], "comma"),
        (["1,234", "10.5"], "point"),
        (["1,234", "10,5"], "comma"),
        (["1.234"], "point"),
        (["10"], "point"),
        (["ten", ""], "point"),
        (["1,234"], None),
    ],
)
def test_the_decimal_mark_is_told_from_all_numbers(cells: list[str], decimal: str | None) -> None:
    evidence = NumeralEvidence()
    for cell in cells:
        evidence.add(cell)
    assert evidence.verdict() == decimal
