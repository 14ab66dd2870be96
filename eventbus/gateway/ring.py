"""Ring: the newest events that were dispatched, each under its number, for those who listen and those who come back.

A number means something only together with the epoch: it says which log was counted. Who feeds it says both; knows no client.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from eventbus.gateway.wire import body_of

if TYPE_CHECKING:
    from eventbus import Event

SIZE = 10_000
MAX_BYTES = 16 * 1024 * 1024

_MEASURED_TOGETHER = 128  # events of which one is written to tell the size of all
_LARGE = 8 * 1024  # bytes; among events of that size each is measured


class Ring:
    """The last `size` events, fewer when they would take more than `max_bytes` as JSON. Numbers ascend by one."""

    def __init__(self, *, size: int = SIZE, max_bytes: int = MAX_BYTES) -> None:
        self.epoch = ""
        self.head = 0  # the newest number, 0 before the first
        self.oldest = 1  # the oldest number kept, `head + 1` when there is none
        self.size = size
        self._max_bytes = max_bytes
        self._slots: list[Event | None] = [None] * size  # an event lies at its number modulo the size
        self._stretches: deque[tuple[int, int]] = deque()  # up to which number, and how many bytes
        self._bytes = 0
        self._measured = 0  # up to which number

    def begin(self, epoch: str, head: int) -> None:
        """Count a log of this epoch from `head` on; what another left is forgotten."""
        self.epoch, self.head, self.oldest = epoch, head, head + 1
        self._slots = [None] * self.size
        self._stretches.clear()
        self._bytes = 0
        self._measured = head

    def put(self, events: Sequence[Event | None]) -> None:
        """Events that follow the newest. None stands for one that cannot be read: its number is counted."""
        count, size = len(events), self.size
        first = self.head + 1
        self.head += count
        if count > size:
            first, events, count = self.head - size + 1, events[-size:], size
        at = first % size
        until_end = size - at
        if count <= until_end:
            self._slots[at : at + count] = events
        else:
            self._slots[at:] = events[:until_end]
            self._slots[: count - until_end] = events[until_end:]
        self.oldest = max(self.oldest, self.head - size + 1)
        if self.head - self._measured >= _MEASURED_TOGETHER:
            self._measure()

    def after(self, number: int, limit: int) -> list[Event | None]:
        """The events that follow `number`, which must be `oldest - 1` or later; at most `limit`."""
        count = min(self.head - number, limit)
        at = (number + 1) % self.size
        found = self._slots[at : at + count]
        return found if len(found) == count else found + self._slots[: count - len(found)]

    @property
    def json_bytes(self) -> int:
        """About how many bytes of JSON its events are."""
        return self._bytes

    def _measure(self) -> None:
        """What came since the last time; the oldest leave while it is too much. A sample tells, so that nobody waits for it."""
        first = max(self._measured + 1, self.oldest)
        count = self.head - first + 1
        sample = [*self._sizes(range(first, self.head + 1, _MEASURED_TOGETHER))]
        json_bytes = sum(sample) * count // max(1, len(sample))
        if json_bytes > _LARGE * count:
            json_bytes = sum(self._sizes(range(first, self.head + 1)))
        self._measured = self.head
        self._stretches.append((self.head, json_bytes))
        self._bytes += json_bytes
        while self._stretches and (self._bytes > self._max_bytes or self._stretches[0][0] < self.oldest):
            last, json_bytes = self._stretches.popleft()
            self._bytes -= json_bytes
            for number in range(self.oldest, last + 1):
                self._slots[number % self.size] = None
            self.oldest = max(self.oldest, last + 1)

    def _sizes(self, numbers: range) -> Iterator[int]:
        for number in numbers:
            event = self._slots[number % self.size]
            yield 0 if event is None else len(body_of(event))
