"""Terms: what the policy of one subscription says of the events of a class while they wait."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventbus.event import Event
    from eventbus.kind import EventSpec
    from eventbus.policy import Policy


class Terms:
    """Of one subscription. Most events are of the class of the one before."""

    __slots__ = ("_last", "_policy", "_spec")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._spec: EventSpec | None = None
        self._last: tuple[bool, int | None] = (True, None)

    def of(self, spec: EventSpec) -> tuple[bool, int | None]:
        """Do events of this class keep their places, and how many nanoseconds may they wait?"""
        if spec is not self._spec:
            age, is_lossy = self._policy.max_age_for(spec), self._policy.overflow_for(spec).is_lossy
            self._spec, self._last = spec, (not is_lossy, None if age is None else int(age * 1e9))
        return self._last

    def stretches(
        self, events: Sequence[Event], indices: Sequence[int] | None
    ) -> Iterator[tuple[Sequence[Event], Sequence[int]]]:
        """Events in a row that are treated alike, and their places: kinds that are never dropped stand beside others."""
        places = range(len(events)) if indices is None else indices
        first = 0
        for place in range(1, len(events) + 1):
            if place == len(events) or self.of(events[place].__event__) != self.of(events[first].__event__):
                yield events[first:place], places[first:place]
                first = place
