"""Frozen: containers that nobody can change, and the way back to plain ones."""

from __future__ import annotations

import copy
import pickle
from collections import namedtuple
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus.frozen import FrozenDict, FrozenList, freeze, plain

Point = namedtuple("Point", "x y")


class Colour(Enum):
    RED = "red"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.sets(st.integers()),
)


@given(values)
def test_plain_undoes_freeze(value: Any) -> None:
    frozen = freeze(value)
    assert plain(frozen) == value
    assert frozen == value


@given(values)
def test_freezing_twice_changes_nothing(value: Any) -> None:
    assert freeze(freeze(value)) == freeze(value)


def changes(container: Any) -> list[Any]:
    return [
        lambda: container.__setitem__("a", 1),
        lambda: container.__delitem__("a"),
        container.clear,
        lambda: container.pop("a"),
        container.popitem,
        lambda: container.setdefault("b", 1),
        lambda: container.update(a=1),
        lambda: container.__ior__({"a": 1}),
    ]


@pytest.mark.parametrize("number", range(8))
def test_frozen_dict_refuses_every_change(number: int) -> None:
    container = FrozenDict({"a": 0})
    with pytest.raises(TypeError, match="copy"):
        changes(container)[number]()
    assert container == {"a": 0}


def test_copies_of_a_frozen_dict_are_itself() -> None:
    container = freeze({"a": {"b": [1]}})
    assert copy.copy(container) is container
    assert copy.deepcopy(container) is container
    assert pickle.loads(pickle.dumps(container)) == container  # noqa: S301 - the bus never does
    assert dict(container) == {"a": {"b": [1]}}


def test_frozen_list_equals_list_and_tuple() -> None:
    frozen = freeze([1, [2, 3]])
    assert isinstance(frozen, FrozenList)
    assert frozen == [1, [2, 3]]
    assert frozen == (1, (2, 3))
    assert frozen != [1]
    assert len({freeze([1, 2]), freeze([1, 2])}) == 1


def test_named_tuples_keep_their_names() -> None:
    assert freeze(Point(1, 2)).x == 1


def test_bytes_and_sets_are_held_frozen() -> None:
    assert isinstance(freeze(bytearray(b"x")), bytes)
    assert freeze({1, 2}) == frozenset({1, 2})


def test_plain_gives_enum_members_as_values() -> None:
    assert plain(freeze({"a": [Colour.RED], Colour.RED: 1})) == {"a": ["red"], "red": 1}
