"""Causality: which event led to which, how long each hop took, and what was made of it."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from eventbus.event import Event

if TYPE_CHECKING:
    from eventbus.outcome import Outcome

_INDENT = 40  # levels; what lies deeper tells its depth instead: a long chain would be mostly blanks


Identify = Callable[[Event, Event, str], str | None]
"""Gives an event its id from its cause and the name of the subscription that publishes it; None leaves the random one."""


class Settles(Protocol):
    """What knows where the events of a burst come from, and what became of each."""

    @property
    def hops(self) -> int:
        """The causes between them and the root."""
        ...

    def outcomes(self, index: int) -> Sequence[Outcome] | None:
        """By index; None while that is pending."""
        ...


class _Rest:
    """The last events of a burst, where there is no room for the first."""

    def __init__(self, burst: Settles, first: int) -> None:
        self._burst, self._first = burst, first

    @property
    def hops(self) -> int:
        """As those before."""
        return self._burst.hops

    def outcomes(self, index: int) -> Sequence[Outcome] | None:
        """By index among the last."""
        return self._burst.outcomes(self._first + index)


class Handled(NamedTuple):
    """What one subscription made of one event: how it ended, after how many attempts, seconds waited and seconds run."""

    subscription: str
    status: str
    attempts: int
    queued_s: float | None
    ran_s: float | None

    def __str__(self) -> str:
        ran = "" if self.ran_s is None else f" in {_duration(self.ran_s)}"
        tries = "" if self.attempts == 1 else f" after {self.attempts} attempts"
        return f"{self.subscription} {self.status}{ran}{tries}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """An event, its causes up to the root (nearest first), and its effects, in order. Prints as a tree.

    `handled` says, by event id, what subscriptions made of each, as far as that was kept: durable ones keep it.
    """

    event: Event
    ancestors: tuple[Event, ...]
    descendants: tuple[Event, ...]
    handled: Mapping[str, tuple[Handled, ...]] = field(default_factory=dict)
    _by_id: Mapping[str, Event] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {event.event_id: event for event in self})

    @property
    def root(self) -> Event:
        """The first cause."""
        return self.ancestors[-1] if self.ancestors else self.event

    def __iter__(self) -> Iterator[Event]:
        """Every event of it, causes before effects."""
        return chain(reversed(self.ancestors), (self.event,), self.descendants)

    def after_cause_s(self, event: Event) -> float | None:
        """Seconds from the cause of one of these events to the event itself; None at the root."""
        cause = self._by_id.get(event.causation_id or "")
        if cause is None or cause.event_id == event.event_id:
            return None
        return (event.timestamp - cause.timestamp).total_seconds()

    def age_s(self, now: datetime) -> float:
        """Seconds from the root to `now`: how old the whole affair is."""
        return (now - self.root.timestamp).total_seconds()

    def walk(self) -> list[tuple[int, Event]]:
        """Every event of the tree with its depth, causes before effects, as it is printed."""
        children: dict[str | None, list[Event]] = {}
        for event in self.descendants:
            children.setdefault(event.causation_id, []).append(event)
        lines = list(enumerate(reversed(self.ancestors)))
        stack = [(len(self.ancestors), self.event)]
        while stack:
            depth, event = stack.pop()
            lines.append((depth, event))
            stack.extend((depth + 1, child) for child in reversed(children.get(event.event_id, [])))
        return lines

    def __str__(self) -> str:
        lines = []
        for depth, event in self.walk():
            words = [f"{event}"]
            if depth:
                blanks = "   " * (min(depth, _INDENT) - 1)
                words = [f"{blanks}└─ {event}" if depth <= _INDENT else f"{blanks}└─ ({depth}) {event}"]
            after = self.after_cause_s(event)
            if after is not None:
                words.append(f"+{_duration(after)}")
            words += [f"[{handled}]" for handled in self.handled.get(event.event_id, ())]
            if event is self.event and (self.ancestors or self.descendants):
                words.append("◀")
            lines.append(" ".join(words))
        return "\n".join(lines)


class History:
    """The last `size` events, as they were accepted: bursts of them are taken as they are, what is asked is worked out when asked."""

    def __init__(self, size: int) -> None:
        self._size = size
        # Side by side: a tuple of both would be one more thing for the collector to look at, for each event on its own.
        self._events: deque[Sequence[Event]] = deque()  # of one burst each
        self._bursts: deque[Settles] = deque()
        self._counted = 0  # events in these
        self._hops: OrderedDict[str, int] = OrderedDict()  # of events whose cause was named

    def remember(self, events: Sequence[Event], burst: Settles) -> None:
        """These were accepted after all that is remembered. Costs the same however many they are.

        `burst` knows what became of each. What lies beyond the size is let go.
        """
        size, count = self._size, len(events)
        if count > size:
            if not size:
                return
            events, burst, count = events[count - size :], _Rest(burst, count - size), size
        self._events.append(events)
        self._bursts.append(burst)
        self._counted += count
        while self._counted - len(self._events[0]) >= size:
            self._counted -= len(self._events.popleft())
            self._bursts.popleft()

    def note_hops(self, event: Event, hops: int) -> None:
        """So many causes lie between the root and this event: its own cause was named."""
        self._hops[event.event_id] = hops
        if len(self._hops) > max(self._size, 1):
            self._hops.popitem(last=False)

    def hops_of(self, event: Event) -> int:
        """Causes between the root and an event, as far as it is remembered; 0 for a stranger."""
        known = self._hops.get(event.event_id)
        if known is not None:
            return known
        newest_first = zip(reversed(self._events), reversed(self._bursts), strict=True)
        return next((burst.hops for events, burst in newest_first if any(one is event for one in events)), 0)

    def __iter__(self) -> Iterator[Event]:
        events = [*self._events]
        known = sum(map(len, events))
        return islice(chain.from_iterable(events), max(0, known - self._size), None)

    def explain(self, event_id: str) -> Explanation:
        """The causal tree of an event, with what was made of each. Raises `LookupError` when it is not among those remembered."""
        found = explain(event_id, self)
        return replace(found, handled=self.handled(found))

    def handled(self, events: Iterable[Event]) -> dict[str, tuple[Handled, ...]]:
        """By event id, what was made of those of these events that are remembered, and settled."""
        wanted, found = {event.event_id for event in events}, dict[str, tuple[Handled, ...]]()
        for events_of_one, burst in zip(self._events, self._bursts, strict=True):
            for index, event in enumerate(events_of_one):
                if event.event_id in wanted and (made := burst.outcomes(index)):
                    found[event.event_id] = tuple(map(_handled, made))
        return found


def _handled(outcome: Outcome) -> Handled:
    return Handled(outcome.subscription, outcome.status.value, outcome.attempts, outcome.queued_s, outcome.ran_s)


def explain(
    event_id: str, events: Iterable[Event], handled: Mapping[str, tuple[Handled, ...]] | None = None
) -> Explanation:
    """The causal tree of one of `events`, which are in order of acceptance. Raises `LookupError`."""
    by_id = {event.event_id: event for event in events}
    if event_id not in by_id:
        raise LookupError(f"event {event_id} is not remembered: raise history=, or use a bus with a journal")
    event = by_id[event_id]
    ancestors: list[Event] = []
    family = {event_id}
    cause = by_id.get(event.causation_id or "")
    while cause is not None and cause.event_id not in family:
        ancestors.append(cause)
        family.add(cause.event_id)
        cause = by_id.get(cause.causation_id or "")
    family, descendants = {event_id}, []
    for candidate in by_id.values():
        if candidate.causation_id in family and candidate.event_id not in family:
            family.add(candidate.event_id)
            descendants.append(candidate)
    return Explanation(event, tuple(ancestors), tuple(descendants), handled or {})


def _duration(seconds: float) -> str:
    """A duration for people."""
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("s", 1.0), ("ms", 1e-3)):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
