"""Keys: which keys of one subscription are busy, and who waits behind each.

What has the same key starts one after the other, in order of acceptance: behind a retry, and where several run at once. Runs
nothing, and is a dict so that the hot loops see at once that no key is busy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventbus.event import Event
    from eventbus.policy import Policy
    from eventbus.road.part import Delivery


class Keys(dict[Hashable, "deque[Delivery]"]):
    """Of one subscription: the busy ones."""

    __slots__ = ("_are_taken", "_policy")

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self._policy = policy
        self._are_taken = policy.concurrency > 1  # others might run beside

    def busy_one(self, event: Event) -> Hashable:
        """Its key, if that is busy; else None. Raises whatever `key=` does."""
        key = self._policy.key_of(event)
        return key if key in self else None

    def wait(self, key: Hashable, delivery: Delivery) -> None:
        """It is the last behind that key."""
        delivery.wants(key)
        self[key].append(delivery)

    def before(self, delivery: Delivery) -> Hashable:
        """The busy key that it has to wait for; None: it may start, and its key is busy from now on where others might run beside.

        Raises whatever `key=` does.
        """
        if delivery.key is not None or not (self or self._are_taken):
            return None
        key: Hashable = self._policy.key_of(delivery.event)
        if key in self:
            return key
        if self._are_taken and key is not None:
            self[key] = deque()
            delivery.wants(key)
        return None

    def leave(self, delivery: Delivery, heir: Delivery | None) -> None:
        """One that waits does no longer; who replaces it waits in its place."""
        waiting = self[delivery.key]
        place = waiting.index(delivery)
        if heir is None:
            del waiting[place]
        else:
            heir.wants(delivery.key)
            waiting[place] = heir
        delivery.wants(None)

    def hold(self, delivery: Delivery) -> bool:
        """Nothing else of its key starts before it has ended. False: it holds back nobody that it did not before."""
        if delivery.key is not None:
            return False
        try:
            key = self._policy.key_of(delivery.event)
            if key is None:
                return False
            self.setdefault(key, deque())
        except BaseException:  # noqa: BLE001 - the user's: without a key that works it holds back nobody
            return False
        delivery.wants(key)
        return True

    def release(self, delivery: Delivery) -> Delivery | None:
        """It has ended: gives the next that waits for its key, which passes to that one."""
        key = delivery.key
        if key is None:
            return None
        delivery.wants(None)
        behind = self.get(key)
        if behind:
            return behind.popleft()
        self.pop(key, None)
        return None

    @property
    def behind(self) -> list[Delivery]:
        """All that wait."""
        return [delivery for waiting in self.values() for delivery in waiting]

    def take_all(self) -> list[Delivery]:
        """All that wait, which do no longer. What is busy stays so."""
        all_behind = self.behind
        for waiting in self.values():
            waiting.clear()
        return all_behind
