"""Identity: the ids of a run's events, the same each time the run is done.

An id comes from the run and from what led to the event, so a step that is done again after a crash publishes the same ids, and
a journal recognises them. Whoever publishes without a cause (the clock, the replayer) names what it publishes.
"""

from __future__ import annotations

from typing import Final

import uuid_utils

from eventbus import Event
from quantum_trader.events import is_decision

_NAMESPACE: Final = uuid_utils.UUID("c9b0a3de-58a1-5d33-8f0c-6d1b6f0a7e42")


class RunIds:
    """Give it to a bus as `identify`, and to the session clock. What is no decision keeps a random id: it differs each time.

    Events of one subscription and one cause are told apart by their number; the clock says at each `barrier` that no cause
    seen so far is handled any more.
    """

    def __init__(self, run_id: str) -> None:
        self._run = uuid_utils.uuid5(_NAMESPACE, run_id)
        self._counts: dict[tuple[str, str], int] = {}

    def __call__(self, event: Event, cause: Event, subscription: str) -> str | None:
        """The id of the next event that `subscription` publishes while it handles `cause`."""
        if not is_decision(event):
            return None
        key = (cause.event_id, subscription)
        number = self._counts.get(key, 0)
        self._counts[key] = number + 1
        return str(uuid_utils.uuid5(self._run, f"{cause.event_id}/{subscription}/{number}"))

    def root(self, event_type: str, session: int, detail: str = "") -> str:
        """The id of an event without a cause, from what it tells."""
        return str(uuid_utils.uuid5(self._run, f"{event_type}/{session}/{detail}"))

    def barrier(self) -> None:
        """Everything published so far has been handled."""
        self._counts.clear()
