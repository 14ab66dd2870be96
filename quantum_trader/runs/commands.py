"""Commands: what somebody outside asks of a run, each before a session, and in the same place when the run is done again.

Those that the journal has come where they came. New ones, given here or left in the inbox, come before the first session
that no process has begun: what is begun must come out as it did.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from eventbus import Event
from quantum_trader.runs.inbox import Inbox


class Commands:
    """Knows which commands were given, and before which session each one is published."""

    def __init__(self, *inboxes: Inbox) -> None:
        self._inboxes = inboxes
        self._again: defaultdict[int, list[Event]] = defaultdict(list)
        self._asked: list[Event] = []
        self._known: set[str] = set()  # ids of what came already
        self._taken: list[tuple[Inbox, str]] = []  # out of the inbox, and perhaps not in the journal yet
        self.frontier = 0  # the first session that no process has begun

    def ask(self, command: Event) -> None:
        """One more, as soon as there is a place for it."""
        self._asked.append(command)

    def repeat(self, command: Event, session: int) -> None:
        """The journal has this one, before `session`."""
        self._again[session].append(command)
        self._known.add(command.event_id)

    def before(self, session: int, at: datetime) -> list[Event]:
        """What is to be published before `session`, which begins at `at`."""
        again = self._again.pop(session, [])
        if session < self.frontier:
            return again
        asked, self._asked = self._asked, []
        for inbox, command in [(each, command) for each in self._inboxes for command in each.taken()]:
            if command.event_id in self._known:
                inbox.take_out(command.event_id)
            else:
                self._known.add(command.event_id)
                self._taken.append((inbox, command.event_id))
                asked.append(command)
        return again + [_placed(command, session, at) for command in asked]

    @property
    def are_taken(self) -> bool:
        """Whether something has left the inbox since `settle`."""
        return bool(self._taken)

    def settle(self) -> None:
        """The journal holds all that was taken: the inbox may forget it."""
        for inbox, event_id in self._taken:
            inbox.take_out(event_id)
        self._taken.clear()


def _placed(command: Event, session: int, at: datetime) -> Event:
    """A command with the time at which it takes effect."""
    place = {"session": session, "timestamp": at}
    return command.model_copy(
        update={name: value for name, value in place.items() if name in type(command).model_fields}
    )
