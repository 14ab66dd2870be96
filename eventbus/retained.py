"""Retained: the last event per type and key, of classes that ask for it. What `last` reads and a late subscriber gets first."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING

from eventbus.errors import InvalidSelector, PolicyConflict
from eventbus.wording import shown

if TYPE_CHECKING:
    from eventbus.event import Event
    from eventbus.selector import Selector


class Retained:
    """The retained events of a bus: bounded by the types that retain and the keys their events have."""

    def __init__(self) -> None:
        self._by_type: dict[str, dict[Hashable, Event]] = {}

    def keep(self, event: Event) -> None:
        """Keep it in place of the one before, if its class retains.

        Raises `PolicyConflict` for a key that cannot be one; then nothing has changed.
        """
        if not event.__event__.retain:
            return
        key = self.check(event)
        by_key = self._by_type.setdefault(event.type, {})
        by_key.pop(key, None)  # the last one is at the end
        by_key[key] = event

    def check(self, event: Event) -> Hashable:
        """The key that an event is retained by. Raises `PolicyConflict` for one that cannot be a key."""
        spec = event.__event__
        key = None if spec.key is None else event.get(spec.key)
        try:
            self._by_type.get(event.type, {}).get(key)
        except Exception as error:  # a field may hold anything, also what has no hash
            reason = f"{event.type} retains by {spec.key!r}, and {shown(key)} cannot be a key"
            raise PolicyConflict("key", reason) from error
        return key

    def last(self, selector: type[Event] | str, key: Hashable = None) -> Event | None:
        """The last event of a class or a dotted type: the one of that key, or the last of all. None when there is none.

        Raises `InvalidSelector` for what is neither.
        """
        try:
            name = selector if isinstance(selector, str) else selector.__event__.type
        except AttributeError as error:
            raise InvalidSelector(selector, "is neither an Event class nor a string") from error
        by_key = self._by_type.get(name, {})
        if key is not None or not by_key:
            return by_key.get(key)
        return next(reversed(by_key.values()))

    def matching(self, selector: Selector) -> tuple[Event, ...]:
        """Those that a selector selects, type by type, the oldest first."""
        return tuple(event for event in self if selector.matches(type(event), event.type))

    def __iter__(self) -> Iterator[Event]:
        for by_key in tuple(self._by_type.values()):
            yield from tuple(by_key.values())

    def __len__(self) -> int:
        return sum(map(len, self._by_type.values()))
