"""Overflow: what may be replaced or dropped while it waits, one by one: newer values replace older ones, one too many goes.

A dict, so that the hot loops see at once that nothing waits here. Tells what has to go, and ends nothing.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from eventbus.policy import Overflow, Policy

if TYPE_CHECKING:
    from eventbus.road.part import Delivery


class Replaceable(dict[Hashable, "Delivery"]):
    """Of one subscription, in the order of their turns. What waits behind a busy key is kept apart, and counts with them."""

    __slots__ = ("_behind", "_policy")

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self._policy = policy
        self._behind: dict[Hashable, Delivery] = {}

    def add(self, delivery: Delivery) -> Delivery | None:
        """It waits; gives who has to go for it: the value it replaces, or one too many, which may be itself.

        Raises whatever `key=` does.
        """
        event, size = delivery.event, self._policy.queue_size
        overflow = self._policy.overflow_for(event.__event__)
        key: Hashable = delivery
        if overflow is Overflow.LATEST_BY_KEY:
            key = (event.type, self._policy.key_of(event))
        place = self._behind if key in self._behind else self
        gone = place.get(key)
        if gone is not None:
            delivery.inherit(gone)  # and is in its place already
        elif size is not None and len(self) + len(self._behind) >= size:
            if overflow is Overflow.DROP_NEWEST:
                return delivery
            gone = self._take_oldest()
        place[key] = delivery
        return gone

    def waits_behind(self, key: Hashable, delivery: Delivery) -> Delivery | None:
        """Its key is busy: it can be replaced or dropped there, too. Gives the older value that it replaces there itself."""
        name = self._name(key, delivery)
        older = self._behind.get(name)
        if older is not None:
            delivery.inherit(older)
        self._behind[name] = delivery
        return older

    def is_next(self, delivery: Delivery) -> None:
        """It was behind a key, which is its own now: nothing replaces it any more."""
        self._behind.pop(self._name(delivery.key, delivery), None)

    def _name(self, key: Hashable, delivery: Delivery) -> Hashable:
        is_latest = self._policy.overflow_for(delivery.event.__event__) is Overflow.LATEST_BY_KEY
        return (delivery.event.type, key) if is_latest else delivery

    def _take_oldest(self) -> Delivery:
        """Of all, wherever it waits."""
        oldest = [next(iter(each.items())) for each in (self, self._behind) if each]
        name, delivery = min(oldest, key=lambda item: item[1].order)
        del (self if self.get(name) is delivery else self._behind)[name]
        return delivery

    @property
    def first(self) -> Delivery:
        """Whose turn it is."""
        return self[next(iter(self))]

    def take_first(self) -> Delivery:
        """The same, which waits no longer."""
        return self.pop(next(iter(self)))

    def clear(self) -> None:
        """Nothing waits any more, here or behind a key."""
        super().clear()
        self._behind.clear()
