"""Retained: the last event per type and key, of classes that ask for it. What `last` reads and a late subscriber gets first."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from eventbus.errors import PolicyConflict
from eventbus.event import Event
from eventbus.selector import Selector
from eventbus.wording import shown


class Retained:
    """The kept events of a bus: bounded by the types that retain and the keys their events have."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[Hashable, Event]] = {}

    def keep(self, event: Event) -> None:
        """Keep it in place of the one before, if its class retains.

        Raises `PolicyConflict` for a key that cannot be one; then nothing has changed.
        """
        if not event.__event__.retain:
            return
        key = self.check(event)
        kept = self._kept.setdefault(event.type, {})
        kept.pop(key, None)  # the last one is at the end
        kept[key] = event

    def check(self, event: Event) -> Hashable:
        """The key that an event is kept by. Raises `PolicyConflict` for one that cannot be a key."""
        spec = event.__event__
        key = None if spec.key is None else event.get(spec.key)
        try:
            self._kept.get(event.type, {}).get(key)
        except Exception as error:  # a field may hold anything, also what has no hash
            reason = f"{event.type} retains by {spec.key!r}, and {shown(key)} cannot be a key"
            raise PolicyConflict("key", reason) from error
        return key

    def last(self, selector: type[Event] | str, key: Hashable = None) -> Event | None:
        """The last event of a class or a dotted type: the one of that key, or the last of all. None when there is none."""
        kept = self._kept.get(selector if isinstance(selector, str) else selector.__event__.type, {})
        if key is not None or not kept:
            return kept.get(key)
        return next(reversed(kept.values()))

    def matching(self, selector: Selector) -> tuple[Event, ...]:
        """Those that a selector selects, type by type, the oldest first."""
        return tuple(event for event in self if selector.matches(type(event), event.type))

    def __iter__(self) -> Iterator[Event]:
        for kept in tuple(self._kept.values()):
            yield from tuple(kept.values())

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))
