"""Selector: what a subscription listens to, and the table that answers which subscriptions an event goes to.

A selector is an event class (its subclasses too), a dotted type, or a wildcard. Routes are worked out once per type.
"""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from sys import maxsize
from typing import Any, Generic, Protocol, TypeVar

from eventbus.errors import InvalidSelector
from eventbus.event import AdHocEvent, Event, event_class

_WILD = frozenset("*?[")
_PATTERN = re.compile(r"[A-Za-z0-9_.:*?\[\]!-]{1,128}")


class Selector:
    """A class, a dotted type, or a wildcard (fnmatch with case; a star crosses dots and colons). Raises `InvalidSelector`."""

    __slots__ = ("_match", "what")

    def __init__(self, what: type[Event] | str) -> None:
        self.what: type[Event] | str = what
        self._match: Callable[[str], Any] | None = None
        if isinstance(what, type):
            if not issubclass(what, Event):
                raise InvalidSelector(what, "is a class but no Event")
        elif not isinstance(what, str):
            raise InvalidSelector(what, "is neither a class nor a string")
        elif not _PATTERN.fullmatch(what):
            raise InvalidSelector(what, "has characters no event type has, or is empty or too long")
        elif not _WILD.isdisjoint(what):
            if _unbalanced(what):
                raise InvalidSelector(what, "has an unfinished [...]")
            self._match = _matcher(what)
        elif "]" in what or "!" in what:
            raise InvalidSelector(what, "has an unfinished [...]")

    @property
    def key(self) -> Hashable:
        """What two equal selectors share: a class and its dotted type are two ways to listen, but one type."""
        return self.what

    @property
    def begins(self) -> type[Event] | str:
        """What is sure of all it selects: the class, the whole name, the first word of a wildcard with its dot, or nothing."""
        if self._match is None:
            return self.what
        assert isinstance(self.what, str)
        word = _first_word(_head(self.what))
        return word if word.endswith(".") else ""

    @property
    def title(self) -> str:
        """How it is written in statistics and logs."""
        return self.what if isinstance(self.what, str) else getattr(self.what, "type", "*")

    def matches(self, cls: type[Event], type_name: str) -> bool:
        """Does an event of this class and wire name go to this selector?"""
        if isinstance(self.what, str):
            return self.what == type_name if self._match is None else self._match(type_name) is not None
        return issubclass(cls, self.what)

    def classes(self) -> Iterable[type[Event]]:
        """The one class that is sure to be selected: none for a wildcard."""
        if isinstance(self.what, type):
            yield self.what
        elif self._match is None and (cls := event_class(self.what)) is not None:
            yield cls


def _matcher(pattern: str) -> Callable[[str], Any]:
    """What tells whether a name fits: most patterns are a literal head and a star, and most names fail at the head."""
    head = _head(pattern)
    if pattern == head + "*":
        return lambda name: name.startswith(head) or None
    match = re.compile(fnmatch.translate(pattern)).match
    return lambda name: match(name) if name.startswith(head) else None


def _head(pattern: str) -> str:
    """What a wildcard says literally before its first sign."""
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0]


def _unbalanced(pattern: str) -> bool:
    rest = re.sub(r"\[!?[^\[\]]+\]", "", pattern)
    return "[" in rest or "]" in rest


class Selecting(Protocol):
    """What a table is made of."""

    @property
    def selector(self) -> Selector: ...

    @property
    def number(self) -> int:
        """In order of subscription."""
        ...

    @property
    def since(self) -> int:
        """The number of the first burst that it gets."""
        ...

    @property
    def until(self) -> int:
        """That of the last one; -1 while there is none."""
        ...

    @property
    def is_gate(self) -> bool:
        """Do publishers have to wait for its queue?"""
        ...

    def gets(self, number: int) -> bool:
        """Was it subscribed when the burst of that number was accepted?"""
        ...


S = TypeVar("S", bound=Selecting)
_MOST_ROUTES = 4_096  # types may come from outside by the thousand


class RouteTable(Generic[S]):
    """Which members an event goes to, worked out once per type. Coming and going costs only the routes it changes.

    A member counts from its burst on: what was accepted before goes to those who listened then.
    """

    def __init__(self) -> None:
        self.members: dict[S, None] = {}  # oldest first
        self._by_beginning: defaultdict[type | str, dict[S, None]] = defaultdict(dict)
        self._routes: dict[type[Event] | str, tuple[tuple[S, ...], int]] = {}  # and from which burst on
        self._known: defaultdict[type | str, set[type[Event] | str]] = defaultdict(
            set
        )  # of these, by the same beginnings
        self._gates = 0
        self.has_gates = False  # has any member a queue of its own?
        self._leaving: list[S] = []  # cancelled, while bursts that go to them wait in the lane
        self.has_leaving = False

    def add(self, member: S) -> None:
        """It listens."""
        self.members[member] = None
        self._by_beginning[member.selector.begins][member] = None
        self._count_gates(member.is_gate)
        self._forget_routes(member)

    def leave(self, member: S) -> None:
        """It listens no more, once the bursts that were accepted before are dispatched."""
        if self.members.pop(member, self) is None:
            self._count_gates(-member.is_gate)
            self._leaving.append(member)
            self.has_leaving = True

    def _count_gates(self, more: int) -> None:
        self._gates += more
        self.has_gates = self._gates > 0

    def dispatched(self, number: int, *, is_urgent: bool) -> None:
        """The burst of that number was dispatched. An urgent one overtook others."""
        if not self._leaving or is_urgent:
            return
        gone = [member for member in self._leaving if member.until <= number]
        self._leaving = [member for member in self._leaving if member.until > number]
        self.has_leaving = bool(self._leaving)
        for member in gone:
            self._remove(member)

    def nothing_waits(self) -> None:
        """The lane is empty: who left is gone."""
        leaving, self._leaving, self.has_leaving = self._leaving, [], False
        for member in leaving:
            self._remove(member)

    def _remove(self, member: S) -> None:
        beginning = member.selector.begins
        del self._by_beginning[beginning][member]
        if not self._by_beginning[beginning]:
            del self._by_beginning[beginning]
        self._forget_routes(member)

    @property
    def leaving(self) -> tuple[S, ...]:
        """Cancelled ones that bursts in the lane still go to."""
        return tuple(self._leaving)

    def takers(self, event: Event, number: int) -> tuple[S, ...]:
        """Who gets an event that was accepted in the burst of that number, in order of subscription."""
        cls = type(event)
        route = self._routes.get(event.type if cls is AdHocEvent else cls)
        members, since = self._find(event) if route is None else route
        if since <= number and not self._leaving:
            return members
        return tuple([member for member in members if member.gets(number)])

    def gates(self, event: Event) -> tuple[S, ...]:
        """Those with a queue of their own that an event published now would go to."""
        if not self._gates:
            return ()
        return tuple([member for member in self.takers(event, maxsize) if member.is_gate])

    def _find(self, event: Event) -> tuple[tuple[S, ...], int]:
        """Only members whose selector begins as the type does are asked."""
        cls, type_name = type(event), event.type
        key = type_name if cls is AdHocEvent else cls
        beginnings = _beginnings(key)
        found = [
            member
            for beginning in {**beginnings, type_name: None}
            for member in self._by_beginning.get(beginning, ())
            if member.selector.matches(cls, type_name)
        ]
        found.sort(key=_by_number)
        if len(self._routes) >= _MOST_ROUTES:
            self._routes.clear()
            self._known.clear()
        for beginning in beginnings:
            self._known[beginning].add(key)
        route = self._routes[key] = tuple(found), max((member.since for member in found), default=0)
        return route

    def _forget_routes(self, member: S) -> None:
        """Those that it may come into or go out of."""
        begins = member.selector.begins
        changed = [*self._known.get(begins, ())]
        if isinstance(begins, str):
            changed += [begins] if begins in self._routes and begins not in changed else []
        for key in changed:
            del self._routes[key]
            for beginning in _beginnings(key):
                known = self._known[beginning]
                known.discard(key)
                if not known:
                    del self._known[beginning]


def _beginnings(key: type[Event] | str) -> dict[type | str, None]:
    """How selectors begin that may select events of a class, or ad-hoc ones of a wire name but for that name itself."""
    if isinstance(key, str):
        return dict.fromkeys(("", _first_word(key), *_event_classes(AdHocEvent)))
    name = key.__event__.type
    return dict.fromkeys(("", name, _first_word(name), *_event_classes(key)))


def _event_classes(cls: type[Event]) -> list[type]:
    """Those of its bases that can be listened to, and itself."""
    return [base for base in cls.__mro__ if issubclass(base, Event)]


def _by_number(member: Selecting) -> int:
    return member.number


def _first_word(name: str) -> str:
    """Up to its first dot, and with it: no whole name of several words is the same."""
    word, dot, _rest = name.partition(".")
    return word + dot
