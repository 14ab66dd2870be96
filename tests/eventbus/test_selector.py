"""Selector and route table: what goes to whom."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus import Event, InvalidSelector
from eventbus.selector import RouteTable, Selector


class Base(Event, type="sel.base"):
    pass


class Child(Base, type="sel.child"):
    pass


class Stranger(Event, type="sel.stranger"):
    pass


def matches(what: Any, event: Event) -> bool:
    return Selector(what).matches(type(event), event.type)


def test_class_matches_itself_and_its_subclasses() -> None:
    assert matches(Base, Base())
    assert matches(Base, Child())
    assert matches(Event, Stranger())
    assert not matches(Base, Stranger())
    assert not matches(Child, Base())
    assert not matches(Base, Event("sel.base"))  # same name, but no such object: its fields are not there


def test_dotted_type_matches_exactly_typed_and_ad_hoc() -> None:
    assert matches("sel.base", Base())
    assert matches("sel.base", Event("sel.base"))
    assert not matches("sel.base", Child())
    assert not matches("sel.bas", Base())
    assert not matches("Sel.Base", Base())


@pytest.mark.parametrize(
    ("pattern", "name", "matched"),
    [
        ("*", "anything.at:all", True),
        ("trade.*", "trade.executed", True),
        ("trade.*", "trade.a.b:c", True),  # a star crosses dots and colons
        ("trade.*", "trade", False),
        ("trade.*", "Trade.x", False),
        ("trade.?", "trade.x", True),
        ("trade.?", "trade.xy", False),
        ("*.executed", "a.b.executed", True),
        ("q[a-c].x", "qb.x", True),
        ("q[!a-c].x", "qb.x", False),
        ("q[!a-c].x", "qz.x", True),
        ("health:*:up", "health:db.main:up", True),
    ],
)
def test_wildcards(pattern: str, name: str, matched: bool) -> None:
    assert matches(pattern, Event(name)) is matched


names = st.text("ab.:", min_size=1, max_size=12)


def reference(pattern: str, name: str) -> bool:
    """A matcher of a few lines: star and question mark only."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(reference(pattern[1:], name[i:]) for i in range(len(name) + 1))
    return bool(name) and pattern[0] in ("?", name[0]) and reference(pattern[1:], name[1:])


@given(st.text("ab.:*?", min_size=1, max_size=8), names)
def test_wildcards_equal_a_reference(pattern: str, name: str) -> None:
    assert matches(pattern, Event(name)) is reference(pattern, name)


@pytest.mark.parametrize(
    "bad", ["", "two words", "a/b", "trade.[", "trade.[]", "trade.]", "!", "x" * 129, "ä*", 3, None, int, object]
)
def test_bad_selector_names_itself_and_the_remedy(bad: Any) -> None:
    with pytest.raises(InvalidSelector, match="use an Event class") as caught:
        Selector(bad)
    assert caught.value.selector is bad
    assert re.escape(repr(bad))[:8] in re.escape(str(caught.value))


def test_title_is_what_statistics_show() -> None:
    assert [Selector(what).title for what in (Base, "a.*", Event)] == ["sel.base", "a.*", "*"]


def test_classes_are_known_for_a_class_and_its_name_only() -> None:
    assert list(Selector(Base).classes()) == [Base]
    assert list(Selector("sel.base").classes()) == [Base]
    assert list(Selector("sel.nobody").classes()) == []
    assert list(Selector("sel.*").classes()) == []


@dataclass(frozen=True)
class Member:
    selector: Selector
    is_gate: bool = False


def member(what: Any) -> Member:
    return Member(Selector(what))


def test_route_is_in_order_of_subscription() -> None:
    members = [member(what) for what in ("sel.*", Child, Stranger, Base, "sel.child")]
    table: RouteTable[Member] = RouteTable(tuple(members))
    assert table.route(Child()) == (members[0], members[1], members[3], members[4])
    assert table.route(Event("sel.child")) == (members[0], members[4])
    assert table.route(Event("other")) == ()


def test_table_is_a_snapshot() -> None:
    first = member("a")
    table: RouteTable[Member] = RouteTable((first,))
    assert table.route(Event("a")) == (first,)
    second = member("a")
    bigger = table.with_member(second)
    assert table.route(Event("a")) == (first,)
    assert bigger.route(Event("a")) == (first, second)
    assert bigger.without(first).route(Event("a")) == (second,)
    assert bigger.route(Event("a")) == (first, second)


def test_pattern_is_matched_once_per_type(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    original = Selector.matches

    def counting(self: Selector, cls: type[Event], type_name: str) -> bool:
        asked.append(type_name)
        return original(self, cls, type_name)

    monkeypatch.setattr(Selector, "matches", counting)
    table: RouteTable[Member] = RouteTable((member("a.*"),))
    for _ in range(3):
        table.route(Event("a.b"))
        table.route(Base())
    assert asked == ["a.b"]  # the other begins otherwise


def test_only_patterns_that_begin_as_the_type_are_asked() -> None:
    patterns = ["*", "a*", "a.*", "a.b", "b.*", "a.?", "*.b", "[ab].b", "a.b.*", "A.*", "b", "a"]
    table: RouteTable[Member] = RouteTable(tuple(map(member, patterns)))
    for name in ("a.b", "a", "b.b", "ab", "a.b.c", "A.b", ".b", "a."):
        event = Event(name)
        everybody = tuple(one for one in table.members if one.selector.matches(type(event), name))
        assert table.route(event) == everybody
