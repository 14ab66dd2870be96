"""Memory store: of a bus without a journal. What is pending goes with the process; its groups read what was dispatched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus.durability.groups import Groups
from eventbus.durability.groups_in_memory import MemoryHolding, MemorySource
from eventbus.durability.store import Store
from eventbus.durability.trouble import Trouble
from eventbus.errors import PolicyConflict

if TYPE_CHECKING:
    from eventbus.journal.values import Start
    from eventbus.subscription import Subscription


class MemoryStore(Store):
    """It keeps nothing."""

    _source: MemorySource

    def _may_begin(self, start: Start) -> None:
        if start != "end":
            raise PolicyConflict(
                "start",
                f"{start!r} needs a journal: nothing in memory is kept for later, a group there begins at the end",
            )

    def joined(self, group: str, subscription: Subscription, start: Start, parts: int | None) -> None:
        groups = self._readers()
        since = self._source.begin(group, subscription.worker.since)
        groups.join(group, subscription, start, since)

    def _readers(self) -> Groups:
        """Made when the first group comes: what a bus keeps for them costs nobody else anything."""
        if self._groups is None:
            lifetime, self._source = self._stations.lifetime, MemorySource()
            self._groups = Groups(self._source, MemoryHolding(), lifetime, Trouble(lifetime))
            self._stations.dispatcher.watched_by(self._source.dispatched)
        return self._groups
