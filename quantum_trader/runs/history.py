"""History: the journal of a run as events, and as the barriers that its session clock drained.

Reads a file, live or closed, and never gets in the way of its writer. Knows no component.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from eventbus import Event, JournalReader, open_reader
from eventbus.codec import decode
from quantum_trader.events import is_decision
from quantum_trader.market.replayer import SOURCE as REPLAYER
from quantum_trader.monitoring.health import SOURCE as HEALTH
from quantum_trader.runs.folder import RunFolder
from quantum_trader.session import SOURCE as CLOCK

FEEDERS: Final = (CLOCK, REPLAYER, HEALTH)
"""Who publishes without a cause and is not somebody outside."""

_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Barrier:
    """The decision events between two moments at which nothing was pending. `session` is -1 before the first."""

    session: int
    what: str
    events: tuple[Event, ...]


@contextmanager
def opened(folder: RunFolder) -> Iterator[JournalReader]:
    """The journal of a run, to read. Raises `NoRun`, `JournalUnavailable`, `JournalDamaged`."""
    with open_reader(folder.source) as reader:
        yield reader


def events(reader: JournalReader, *types: type[Event] | str) -> Iterator[Any]:
    """Events in order, of these types only if any are given. Raises `CodecError` for one that cannot be read."""
    names = [each if isinstance(each, str) else each.__event__.type for each in types] or None
    after, last = 0, reader.last()
    while page := reader.read(after, _PAGE, names, last):
        for record in page:
            yield decode(record.body)
        after = page[-1].offset


def found(reader: JournalReader, event_id: str | None) -> Event | None:
    """The event with this id."""
    record = None if event_id is None else reader.find(event_id)
    return None if record is None else decode(record.body)


def is_command(event: Event) -> bool:
    """Whether somebody outside had it published."""
    return event.causation_id is None and is_decision(event) and event.source not in FEEDERS


def barriers(history: Iterable[Event]) -> Iterator[Barrier]:
    """The decisions of a run, barrier by barrier. Each begins with what its clock, its replayer or somebody outside published."""
    session, what, gathered = -1, "", list[Event]()
    for event in history:
        if not is_decision(event):
            continue
        if event.causation_id is None:
            root = _root(event, session)
            if root != (session, what):
                if gathered:
                    yield Barrier(session, what, tuple(gathered))
                (session, what), gathered = root, []
        gathered.append(event)
    if gathered:
        yield Barrier(session, what, tuple(gathered))


def _root(event: Event, session: int) -> tuple[int, str]:
    """The barrier that an event without a cause belongs to; those of one barrier follow each other."""
    if is_command(event):
        return session, f"command {event.event_id}"
    if event.source == REPLAYER:
        return event["session"], "market"
    return event.get("session", -1), event.type
