"""Gate: the queue of its own that one subscription asks for. Publishers wait here for a place in it, or are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eventbus.errors import QueueFull, WouldDeadlock
from eventbus.policy import Overflow, Policy
from eventbus.road.waiters import Waiters

if TYPE_CHECKING:
    from eventbus.stats import Tally


class Gate:
    """Of one subscription. What waits stands in its mailbox; here it is counted, from acceptance on."""

    __slots__ = ("_expected", "_tally", "_waiting", "does_refuse", "size", "subscription")

    def __init__(self, subscription: str, policy: Policy, tally: Tally) -> None:
        self.subscription = subscription
        self.size = policy.queue_size or 0
        self.does_refuse = policy.overflow is Overflow.REJECT
        self._tally = tally
        self._expected = 0  # accepted, and not offered yet
        self._waiting = Waiters()

    @property
    def room(self) -> int:
        """Places that are free."""
        return self.size - self._tally.pending - self._expected

    def expect(self, events: int) -> None:
        """So many were let in at the door, or (negative) are offered now."""
        self._expected += events

    async def vacancy(self) -> None:
        """Wait until there may be a place."""
        with self._waiting.one() as waiter:
            await waiter

    def look(self) -> None:
        """Something has ended: if there is a place, those who wait are let in."""
        if self._waiting and self.room > 0:
            self.let_in()

    def let_in(self) -> None:
        """Those who wait for a place look again."""
        self._waiting.wake()

    def move(self) -> None:
        """The bus goes on in another loop: who waited in the old one is gone with it."""
        self._waiting = Waiters()


def have_room(gates: Sequence[Gate], *, is_inside: bool) -> bool:
    """Has each of these queues a place? Raises `WouldDeadlock` and `QueueFull` where the answer is not to wait for one."""
    for gate in [gate for gate in gates if gate.room <= 0]:
        if is_inside:
            raise WouldDeadlock(gate.size)
        if gate.does_refuse:
            raise QueueFull(gate.size, f"subscription {gate.subscription!r}")
        return False
    return True
