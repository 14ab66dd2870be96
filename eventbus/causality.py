"""Causality: which event led to which, from what the bus remembers of the recent past."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from eventbus.event import Event


@dataclass(frozen=True, slots=True)
class Explanation:
    """An event, its causes up to the root (nearest first), and its effects. Prints as a tree."""

    event: Event
    ancestors: tuple[Event, ...]
    descendants: tuple[Event, ...]

    def __str__(self) -> str:
        children: dict[str | None, list[Event]] = {}
        for event in self.descendants:
            children.setdefault(event.causation_id, []).append(event)
        lines = [
            f"{'   ' * depth}{'└─ ' if depth else ''}{event}" for depth, event in enumerate(reversed(self.ancestors))
        ]
        stack = [(self.event, len(self.ancestors))]
        while stack:
            event, depth = stack.pop()
            mark = " ◀" if event is self.event and (self.ancestors or self.descendants) else ""
            lines.append(f"{'   ' * (depth - 1)}{'└─ ' if depth else ''}{event}{mark}" if depth else f"{event}{mark}")
            stack.extend((child, depth + 1) for child in reversed(children.get(event.event_id, [])))
        return "\n".join(lines)


class History:
    """The last `size` events that were dispatched."""

    def __init__(self, size: int) -> None:
        self._recent: deque[Event] = deque(maxlen=size)

    def remember(self, events: Iterable[Event]) -> None:
        self._recent.extend(events)

    def explain(self, event_id: str) -> Explanation:
        """The causal tree of an event. Raises `LookupError` when it is not among those remembered."""
        return explain(event_id, self._recent)


def explain(event_id: str, events: Iterable[Event]) -> Explanation:
    """The causal tree of one of `events`, which are in order of acceptance. Raises `LookupError`."""
    by_id = {event.event_id: event for event in events}
    if event_id not in by_id:
        raise LookupError(f"event {event_id} is not remembered: raise history=, or use a bus with a journal")
    event = by_id[event_id]
    ancestors: list[Event] = []
    cause = by_id.get(event.causation_id or "")
    while cause is not None and cause not in ancestors:
        ancestors.append(cause)
        cause = by_id.get(cause.causation_id or "")
    family, descendants = {event_id}, []
    for candidate in by_id.values():
        if candidate.causation_id in family and candidate.event_id not in family:
            family.add(candidate.event_id)
            descendants.append(candidate)
    return Explanation(event, tuple(ancestors), tuple(descendants))
