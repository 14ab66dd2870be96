"""Groups: the durable subscriptions of one bus, each with its cursor. Who comes after a cancelled one goes on where that was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eventbus.durability.group import Group
from eventbus.errors import PolicyConflict
from eventbus.stats import GroupStats

if TYPE_CHECKING:
    from eventbus.durability.holding import Holding
    from eventbus.durability.source import Source
    from eventbus.durability.trouble import Trouble
    from eventbus.journal.values import Start
    from eventbus.road.lifetime import Lifetime
    from eventbus.subscription import Subscription


class Groups:
    """Over one source."""

    def __init__(self, source: Source, holding: Holding, lifetime: Lifetime, trouble: Trouble) -> None:
        self._source = source
        self._holding = holding
        self._lifetime = lifetime
        self._trouble = trouble
        self._live: dict[str, Group] = {}
        self._left: dict[str, Group] = {}  # of subscriptions that were cancelled

    def name_of(
        self, name: str | None, group: str | None, start: Start, options: Mapping[str, Any], *, replay_last: bool
    ) -> str:
        """The group of a new subscription; empty: that of its own name. Raises `PolicyConflict` for what it cannot have."""
        for argument in ("queue_size", "overflow"):
            if options.get(argument) is not None:
                raise PolicyConflict(
                    argument, "a durable subscription is never full, it reads what was kept: leave it out"
                )
        if replay_last:
            raise PolicyConflict("replay_last", "is for subscriptions without a group, which has a place to go on from")
        is_offset = isinstance(start, int) and not isinstance(start, bool) and start >= 0
        if start not in ("beginning", "end") and not is_offset:
            raise PolicyConflict("start", f"{start!r} is none of 'beginning', 'end', or an offset")
        chosen = group or name or ""
        self._must_be_free(chosen)
        return chosen

    def join(
        self, name: str, subscription: Subscription, start: Start, since: int = 0, parts: int | None = None
    ) -> Group:
        """A subscription reads for that group from now on: what was accepted from the burst of number `since` on.

        Raises `PolicyConflict` where another one does.
        """
        try:
            self._must_be_free(name)
        except PolicyConflict:
            subscription.cancel()
            raise
        previous = self._left.pop(name, None)
        group = Group(
            name,
            subscription,
            self._source,
            self._holding,
            self._lifetime,
            self._trouble,
            start,
            since,
            previous,
            self._has_left,
            parts,
        )
        subscription.worker.fed_by(group)
        self._live[name] = group
        if self._lifetime.is_running:
            group.start()
        return group

    def _must_be_free(self, name: str) -> None:
        if name in self._live:
            raise PolicyConflict("group", f"{name!r} is read by another subscription of this bus already")

    def _has_left(self, group: Group) -> None:
        self._left = {name: left for name, left in self._left.items() if not left.is_finished}
        if self._live.get(group.name) is group:
            self._left[group.name] = self._live.pop(group.name)

    @property
    def is_behind(self) -> bool:
        """Is anything left to read, to handle or to commit?"""
        return any(group.is_behind for group in self._live.values())

    def stats(self) -> tuple[GroupStats, ...]:
        """A row for each that is live."""
        return tuple(map(_stats_of, self._live.values()))

    def titles(self) -> frozenset[str]:
        """The names of the subscriptions that read for a group."""
        return frozenset(group.subscription.name for group in (self._left | self._live).values())

    async def open(self) -> None:
        """The source is open: every group finds its place."""
        for group in [*self._live.values()]:
            await group.open()

    def start(self) -> None:
        """The bus runs."""
        for group in [*self._live.values()]:
            group.start()

    async def close(self) -> None:
        """The bus has ended: nobody waits any more, and what is known is committed."""
        for group in (*self._left.values(), *self._live.values()):
            await group.close()


def _stats_of(group: Group) -> GroupStats:
    shares = group.shares.values()
    unfinished = sum(share.unfinished for share in shares)
    return GroupStats(group.name, group.lag + unfinished, group.parts, sum(share.takes for share in shares))
