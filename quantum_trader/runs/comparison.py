"""Comparison: the first decision in which two runs part, and what they were started with differently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from eventbus import Event
from quantum_trader.app import run_id_of
from quantum_trader.events import RunStartedEvent
from quantum_trader.monitoring.digest import decision_line
from quantum_trader.runs.folder import RunFolder
from quantum_trader.runs.history import Barrier, barriers, events, opened


@dataclass(frozen=True, slots=True)
class Parting:
    """`same` decisions agree; then `one` and `other` stand where they part, None where a run ends. Both None: the same.

    `configuration` has the two values of each key that differs, by its dotted name.
    """

    same: int
    session: int | None = None
    what: str = ""
    one: Event | None = None
    other: Event | None = None
    configuration: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def is_same(self) -> bool:
        return self.one is None and self.other is None


def part(one: RunFolder, other: RunFolder) -> Parting:
    """Compare two runs barrier by barrier; who spoke first inside a barrier is no difference. Raises `NoRun`."""
    configuration = dict(_differences(one.config().model_dump(mode="json"), other.config().model_dump(mode="json")))
    same, names = 0, (run_id_of(one.config()).encode(), run_id_of(other.config()).encode())
    with opened(one) as left, opened(other) as right:
        for a, b in zip_longest(barriers(events(left)), barriers(events(right))):
            if a is not None and b is not None and _lines(a, names[0]) == _lines(b, names[1]):
                same += len(a.events)
                continue
            here = a or b
            mine, yours = _first_beyond(a, b, names), _first_beyond(b, a, names[::-1])
            return Parting(same, here.session, here.what, mine, yours, configuration)
    return Parting(same, configuration=configuration)


def _lines(barrier: Barrier | None, name: bytes) -> Counter[bytes]:
    """What counts of a barrier: its decisions, but for the `name` of their run, which the operator's word carries; what the
    runs were started with is told apart from them."""
    return Counter(
        decision_line(event).replace(name, b"")
        for event in (barrier.events if barrier else ())
        if not isinstance(event, RunStartedEvent)
    )


def _first_beyond(barrier: Barrier | None, other: Barrier | None, names: Sequence[bytes]) -> Event | None:
    """The first event of a barrier that the other one lacks."""
    known = _lines(other, names[1])
    for event in barrier.events if barrier else ():
        if isinstance(event, RunStartedEvent):
            continue
        line = decision_line(event).replace(names[0], b"")
        if not known[line]:
            return event
        known[line] -= 1
    return None


def _differences(one: Any, other: Any, name: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from _differences(one.get(key), other.get(key), f"{name}.{key}" if name else key)
    elif one != other:
        yield name, (one, other)
