"""Retained: the last event per type and key."""

from __future__ import annotations

from typing import Any

import pytest

from eventbus import Event, PolicyConflict
from eventbus.retained import Retained
from eventbus.selector import Selector


class RetainedPrice(Event, type="retained.price", retain=True, key="symbol"):
    symbol: Any
    n: int = 0


class RetainedPolicy(Event, type="retained.policy", retain=True):
    n: int


class RetainedNot(Event, type="retained.not"):
    n: int


class Unhashable:
    __hash__ = None  # type: ignore[assignment] # on purpose


@pytest.fixture
def retained() -> Retained:
    retained = Retained()
    for event in (
        RetainedPrice(symbol="A", n=1),
        RetainedPrice(symbol="B", n=2),
        RetainedPolicy(n=3),
        RetainedPolicy(n=4),
        RetainedPrice(symbol="A", n=5),
        RetainedNot(n=6),
    ):
        retained.keep(event)
    return retained


def test_the_last_of_each_key_is_kept(retained: Retained) -> None:
    assert [event["n"] for event in retained] == [2, 5, 4]
    assert len(retained) == 3
    assert retained.last(RetainedPrice, "B") == retained.last("retained.price", "B")
    assert [retained.last(RetainedPrice)["n"], retained.last(RetainedPrice, "B")["n"]] == [5, 2]  # type: ignore[index] # there
    assert retained.last(RetainedPrice, "C") is retained.last(RetainedNot) is retained.last("a.b") is None


def test_a_late_subscriber_gets_those_it_selects(retained: Retained) -> None:
    assert [event["n"] for event in retained.matching(Selector("retained.p*"))] == [2, 5, 4]
    assert [event["n"] for event in retained.matching(Selector(RetainedPolicy))] == [4]


def test_a_key_that_cannot_be_one_is_refused_and_changes_nothing(retained: Retained) -> None:
    with pytest.raises(PolicyConflict, match="cannot be a key"):
        retained.keep(RetainedPrice(symbol=Unhashable()))
    assert [event["n"] for event in retained] == [2, 5, 4]
