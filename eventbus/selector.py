"""Selector: what a subscription listens to, and the table that answers which subscriptions an event goes to.

A selector is an event class (its subclasses too), a dotted type, or a wildcard. A `RouteTable` is a snapshot: it never changes
once made, so an event accepted under it is delivered to those who listened then; routes are worked out once per type.
"""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
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
    def is_gate(self) -> bool:
        """Do publishers have to wait for its queue?"""
        ...


S = TypeVar("S", bound=Selecting)


class RouteTable(Generic[S]):
    """Which of `members` an event goes to. A snapshot: adding a member makes another table."""

    __slots__ = ("_index", "_routes", "gates", "members")

    def __init__(self, members: tuple[S, ...] = ()) -> None:
        self.members = members
        self.gates = tuple(member for member in members if member.is_gate)
        self._routes: dict[type[Event] | str, tuple[S, ...]] = {}
        self._index = defaultdict[type | str, list[int]](list)  # of members, made when the first route is looked for

    def route(self, event: Event) -> tuple[S, ...]:
        """The members that the event goes to, in order of subscription."""
        cls = type(event)
        key: type[Event] | str = event.type if cls is AdHocEvent else cls
        known = self._routes.get(key)
        return self._find(key, cls, event.type) if known is None else known

    def _find(self, key: type[Event] | str, cls: type[Event], type_name: str) -> tuple[S, ...]:
        """Types may come from outside by the thousand: only members whose selector begins as the type does are asked."""
        if not self._index:
            for place, member in enumerate(self.members):
                self._index[member.selector.begins].append(place)
        index, members = self._index, self.members
        beginnings: tuple[type | str, ...] = ("", type_name, *cls.__mro__)
        places = [place for beginning in beginnings for place in index.get(beginning, ())]
        word = _first_word(type_name)
        if word != type_name:
            places += index.get(word, ())
        places.sort()
        found = self._routes[key] = tuple(
            [members[place] for place in places if members[place].selector.matches(cls, type_name)]
        )
        return found

    def with_member(self, member: S) -> RouteTable[S]:
        return RouteTable((*self.members, member))

    def without(self, member: S) -> RouteTable[S]:
        return RouteTable(tuple(other for other in self.members if other is not member))


def _first_word(name: str) -> str:
    """Up to its first dot, and with it: no whole name of several words is the same."""
    word, dot, _rest = name.partition(".")
    return word + dot
