"""Bounds: senseless values are refused by the name of their argument, whatever they do when they are looked at."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from eventbus import PolicyConflict
from eventbus.bounds import callable_with, number, seconds, whole, word


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


ODD = [math.nan, math.inf, -math.inf, True, False, None, "1", [1], Decimal(1), timedelta(1), Unprintable()]


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("check", [whole, number, seconds])
def test_no_number_is_made_of_what_is_none(check: Callable[[str, object], float], value: Any) -> None:
    with pytest.raises(PolicyConflict) as caught:
        check("grace", value)
    assert caught.value.argument == "grace"


def test_each_has_its_range() -> None:
    assert (whole("n", 1), whole("n", 0, least=0), number("n", 0), seconds("n", 0.1), seconds("n", 0, zero=True)) == (
        1,
        0,
        0,
        0.1,
        0,
    )
    for refused in (
        lambda: whole("n", 0),
        lambda: whole("n", 1.0),
        lambda: number("n", 0.5, least=1),
        lambda: seconds("n", 0),
        lambda: seconds("n", -1, zero=True),
        lambda: seconds("n", 10**400),
        lambda: seconds("n", 1e300),
        lambda: word("name", " "),
        lambda: word("name", 3),
        lambda: callable_with("where", 3, "an event"),
    ):
        with pytest.raises(PolicyConflict):
            refused()


def test_names_and_callables_are_given_back() -> None:
    assert word("name", "ledger") == "ledger"
    assert callable_with("where", print, "an event") is print
