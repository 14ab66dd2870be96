"""Mailbox: the waiting room of one subscription.

The dispatcher offers, a worker takes. Keeps order by key, conflates, drops as told. Knows nothing of handlers, journals or
retries, and never waits.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Hashable, Iterator

from eventbus.delivery import Delivery
from eventbus.policy import Overflow


class Mailbox:
    """Deliveries in order of acceptance; urgent ones first; of one key never two at a time.

    `take()` makes the key of what it hands out busy; `release(key)` frees it. Deliveries without a key never wait for each other.
    """

    def __init__(self, size: int | None = None) -> None:
        self._size = size
        self._urgent: deque[Delivery] = deque()
        self._waiting: deque[Delivery] = deque()
        self._latest: dict[Hashable, Delivery] = {}  # conflated key -> its place in _waiting
        self._busy: set[Hashable] = set()
        self._held: dict[Hashable, deque[Delivery]] = {}  # passed over because their key was busy
        self._freed: deque[Delivery] = deque()  # held or taken once, runnable now, in the order of their turns
        self._length = 0
        self.conflated = 0
        self.gaps = 0

    def __len__(self) -> int:
        return self._length

    @property
    def may_move(self) -> bool:
        """Is there anything that `take()` has not passed over? What it did waits for its key to be released."""
        return bool(self._urgent or self._freed or self._waiting)

    def offer(self, delivery: Delivery, overflow: Overflow) -> Delivery | None:
        """Take the delivery in; returns the one that had to go for it, itself perhaps, or None."""
        if overflow is Overflow.LATEST_BY_KEY:
            place = self._latest.get((delivery.event.type, delivery.key))
            if place is not None:
                return self._conflate(place, delivery)
        displaced: Delivery | None = None
        if self._size is not None and overflow.is_lossy and self._length >= self._size:
            if overflow is Overflow.DROP_NEWEST:
                return delivery
            displaced = self._drop_oldest()
            if displaced is None:
                return delivery
        if overflow is Overflow.LATEST_BY_KEY:
            self._latest[(delivery.event.type, delivery.key)] = delivery
        (self._urgent if delivery.is_urgent else self._waiting).append(delivery)
        self._length += 1
        return displaced

    def put_back(self, delivery: Delivery, *, keeps_key: bool = True) -> None:
        """A delivery that was taken waits again, before those that were not; its key stays busy unless it was released."""
        if keeps_key:
            self._free(delivery)
        else:
            self._waiting.appendleft(delivery)
        self._length += 1

    def take(self) -> Delivery | None:
        """The next delivery that may run, its key busy from now on; None when there is none."""
        has_urgent_back = bool(self._freed) and self._freed[0].is_urgent  # it came before those that never left
        for source in (self._freed, self._waiting) if has_urgent_back else (self._urgent, self._freed, self._waiting):
            while source:
                place = source.popleft()
                if source is self._freed:
                    self._length -= 1
                    return place
                if place.key is not None and place.key in self._busy:
                    self._held.setdefault(place.key, deque()).append(place)
                    continue
                return self._hand_out(place)
        return None

    def release(self, key: Hashable) -> None:
        """No delivery of this key runs any more."""
        if key is None:
            return
        held = self._held.get(key)
        if held:
            self._free(self._latest_of(held.popleft()))  # the key stays busy: it passes to the next one
            if not held:
                del self._held[key]
        else:
            self._busy.discard(key)

    def clear(self) -> list[Delivery]:
        """Empty the mailbox; returns what was in it, in order."""
        everything = [self._latest_of(place) for place in self]
        for part in (self._urgent, self._waiting, self._freed):
            part.clear()
        self._latest.clear()
        self._held.clear()
        self._length = 0
        return everything

    def oldest(self) -> Delivery | None:
        """The one that has waited longest."""
        return min(self, key=lambda delivery: delivery.accepted_ns, default=None)

    def __iter__(self) -> Iterator[Delivery]:
        yield from self._urgent
        yield from self._freed
        for held in self._held.values():
            yield from held
        yield from self._waiting

    def _free(self, delivery: Delivery) -> None:
        insort(self._freed, delivery, key=_by_turn)

    def _hand_out(self, place: Delivery) -> Delivery:
        delivery = self._latest_of(place)
        if delivery.key is not None:
            self._busy.add(delivery.key)
        self._length -= 1
        return delivery

    def _conflate(self, place: Delivery, newer: Delivery) -> Delivery:
        """`newer` takes the place, and the turn, of the value that waits there."""
        replaced = place.heir or place
        if place.heir is None:
            self.gaps += 1
        place.heir = newer
        self.conflated += 1
        return replaced

    def _latest_of(self, place: Delivery) -> Delivery:
        """The newest value of a place; the place is given up."""
        conflation_key = (place.event.type, place.key)
        if self._latest.get(conflation_key) is place:
            del self._latest[conflation_key]
        return place.heir or place

    def _drop_oldest(self) -> Delivery | None:
        """Drop what has waited longest and may be dropped. Lossless deliveries share the mailbox and stay."""
        oldest: tuple[Delivery, deque[Delivery]] | None = None
        for source in (self._waiting, *self._held.values()):
            place = next((place for place in source if not place.is_lossless), None)
            if place is not None and (oldest is None or place.order < oldest[0].order):
                oldest = place, source
        if oldest is None:
            return None
        place, source = oldest
        source.remove(place)
        if not source and source is not self._waiting:
            del self._held[place.key]
        self._length -= 1
        return self._latest_of(place)


def _by_turn(delivery: Delivery) -> tuple[bool, int]:
    """Urgent ones first, then by acceptance."""
    return not delivery.is_urgent, delivery.order
