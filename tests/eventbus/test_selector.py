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


@dataclass(eq=False)
class Member:
    """Whoever is in a table. It gets the bursts from `since` up to `until`."""

    selector: Selector
    number: int = 0
    since: int = 0
    until: int = -1
    is_gate: bool = False

    def gets(self, number: int) -> bool:
        return self.since <= number and (number <= self.until or self.until < 0)


def table_of(*selectors: Any) -> tuple[RouteTable[Member], list[Member]]:
    """A table, and its members in order of subscription."""
    table = RouteTable[Member]()
    members = [Member(Selector(what), number) for number, what in enumerate(selectors)]
    for member in members:
        table.add(member)
    return table, members


def test_takers_come_in_order_of_subscription() -> None:
    table, members = table_of("sel.*", Child, Stranger, Base, "sel.child")
    assert table.takers(Child(), 1) == (members[0], members[1], members[3], members[4])
    assert table.takers(Event("sel.child"), 1) == (members[0], members[4])
    assert table.takers(Event("other"), 1) == ()


def test_a_member_gets_the_bursts_that_were_accepted_while_it_listened() -> None:
    table, (first,) = table_of("a")
    assert table.takers(Event("a"), 1) == (first,)
    second = Member(Selector("a"), number=1, since=3)
    table.add(second)
    assert table.takers(Event("a"), 2) == (first,)
    assert table.takers(Event("a"), 3) == (first, second)
    first.until = 4
    table.leave(first)
    assert (list(table.members), table.leaving) == ([second], (first,))
    assert table.takers(Event("a"), 4) == (first, second)
    assert table.takers(Event("a"), 5) == (second,)


@pytest.mark.parametrize("is_urgent", [False, True])
def test_who_left_is_gone_once_its_last_burst_is_dispatched(is_urgent: bool) -> None:
    table, (first,) = table_of("a")
    first.until = 4
    table.leave(first)
    table.leave(first)
    table.dispatched(3, is_urgent=False)
    assert table.has_leaving
    table.dispatched(4, is_urgent=is_urgent)  # an urgent one overtook those before it
    assert table.has_leaving is is_urgent
    table.nothing_waits()
    assert not table.has_leaving
    assert table.takers(Event("a"), 4) == ()


def test_gates_are_the_members_with_a_queue_of_their_own_that_still_listen() -> None:
    table, _ = table_of("a")
    assert not table.has_gates
    gate = Member(Selector("a.*"), number=1, is_gate=True)
    table.add(gate)
    assert table.has_gates
    assert table.gates(Event("a.b")) == (gate,)
    assert table.gates(Event("a")) == ()
    gate.until = 0
    table.leave(gate)
    assert table.gates(Event("a.b")) == ()
    assert not table.has_gates


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The types that any selector was asked about."""
    asked: list[str] = []
    original = Selector.matches

    def counting(self: Selector, cls: type[Event], type_name: str) -> bool:
        asked.append(type_name)
        return original(self, cls, type_name)

    monkeypatch.setattr(Selector, "matches", counting)
    return asked


def test_pattern_is_matched_once_per_type(asked: list[str]) -> None:
    table, _ = table_of("a.*")
    for _round in range(3):
        table.takers(Event("a.b"), 1)
        table.takers(Base(), 1)
    assert asked == ["a.b"]  # the other begins otherwise


def test_who_comes_costs_only_the_routes_it_comes_into(asked: list[str]) -> None:
    table, (first, other) = table_of("a.*", "b.*")
    events = [Event("a.b"), Event("b.b")]
    for event in events:
        table.takers(event, 1)
    late = Member(Selector("a.b"), number=2)
    table.add(late)
    asked.clear()
    assert [table.takers(event, 1) for event in events] == [(first, late), (other,)]
    assert asked == ["a.b", "a.b"]  # by both that begin so; the other route stays


def test_only_patterns_that_begin_as_the_type_are_asked() -> None:
    patterns = ["*", "a*", "a.*", "a.b", "b.*", "a.?", "*.b", "[ab].b", "a.b.*", "A.*", "b", "a"]
    table, members = table_of(*patterns)
    for name in ("a.b", "a", "b.b", "ab", "a.b.c", "A.b", ".b", "a."):
        event = Event(name)
        assert table.takers(event, 1) == tuple(one for one in members if one.selector.matches(type(event), name))
