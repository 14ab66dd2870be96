"""Mailbox: what one subscription has waiting: parts in order, what came back from elsewhere, and what may still be replaced.

The dispatcher offers, a worker takes. Knows whose turn it is, and neither keys nor handlers.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from eventbus.road.overflow import Replaceable

if TYPE_CHECKING:
    from eventbus.policy import Policy
    from eventbus.road.part import Delivery, Part


class Mailbox:
    """Of one subscription."""

    __slots__ = ("freed", "parts", "replaceable")

    def __init__(self, policy: Policy) -> None:
        self.parts: deque[Part] = deque()  # in order; the first may be in hand
        self.freed: list[Delivery] = []  # back from elsewhere, runnable now, in the order of their turns
        self.replaceable = Replaceable(policy)

    def put(self, part: Part) -> None:
        """It waits: CONTROL behind CONTROL, anything else behind all."""
        if not part.burst.is_urgent:
            self.parts.append(part)
            return
        ahead = 0
        for older in self.parts:
            if not (older.is_done or older.burst.is_urgent):  # one that has ended knows its burst no more
                break
            ahead += 1
        self.parts.insert(ahead, part)

    def put_back(self, delivery: Delivery) -> None:
        """It may run now: after those whose turn it is, and before what nobody has looked at."""
        insort(self.freed, delivery, key=_turn)

    @property
    def has_any(self) -> bool:
        """Does anything wait that is not behind us?"""
        return bool(self.freed or self.replaceable or (self.parts and self.next_part() is not None))

    def next_part(self) -> Part | None:
        """The first that is not behind us."""
        parts = self.parts
        while parts:
            part = parts[0]
            if part.done < len(part.events):
                return part
            parts.popleft()
        return None

    def take_single(self) -> Delivery | None:
        """The next of those that are followed one by one, unless an ordinary event comes before it."""
        part = self.next_part()
        is_urgent = part is not None and part.burst.is_urgent
        if self.freed and not (is_urgent and not self.freed[0].is_urgent):
            return self.freed.pop(0)
        waiting = self.replaceable
        if waiting and not is_urgent and (part is None or waiting.first.order <= part.order(part.done)):
            return waiting.take_first()
        return None

    @property
    def singles(self) -> list[Delivery]:
        """All that are followed one by one."""
        return [*self.freed, *self.replaceable.values()]

    def drop(self, delivery: Delivery) -> bool:
        """One that came back from elsewhere does not come any more. False: it is not here."""
        if delivery not in self.freed:
            return False
        self.freed.remove(delivery)
        return True

    def empty(self) -> tuple[list[Delivery], list[Part]]:
        """Nothing waits any more; gives what did."""
        singles, parts = self.singles, [*self.parts]
        for container in (self.freed, self.replaceable, self.parts):
            container.clear()
        return singles, parts

    @property
    def accepted_ns(self) -> Iterator[int]:
        """When what has waited longest was accepted, and some besides."""
        yield from (delivery.part.burst.accepted_ns for delivery in self.singles)
        for part in self.parts:
            if not part.is_done:
                yield part.burst.accepted_ns
                if not part.burst.is_urgent:  # what came later waits behind it
                    return


def _turn(delivery: Delivery) -> tuple[bool, int]:
    return delivery.turn
