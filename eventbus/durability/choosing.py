"""Choosing: which of the events that a group reads it wants, and what its predicate said of those it was asked about before.

Of one group. Runs no handler, and reads nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from eventbus.outcome import Status

if TYPE_CHECKING:
    from eventbus.durability.event_cache import Found
    from eventbus.durability.share import Share
    from eventbus.event import Event
    from eventbus.subscription import Subscription

_KNOWN = 65_536  # answers kept of events that are dispatched and not read


class Choosing:
    """What was accepted before the burst of number `since` is not for it. `give_up` gets an event whose predicate raised."""

    def __init__(
        self,
        subscription: Subscription,
        since: int,
        give_up: Callable[[Share, Found, Event, str, BaseException], None],
    ) -> None:
        self._subscription = subscription
        self._since = since
        self._give_up = give_up
        self._known: dict[int, bool] = {}

    def hears(self, offset: int, event: Event, *, is_ahead: bool) -> bool:
        """Is an event that is dispatched for it? What is yet to be read is not asked about twice."""
        where = self._subscription.policy.where
        if where is None:
            return True
        try:
            does = bool(where(event))
        except BaseException:  # noqa: BLE001 - reading it meets the same error, and makes a dead letter of the event
            return True
        if is_ahead and len(self._known) < _KNOWN:
            self._known[offset] = does
        return does

    def wanted(self, share: Share, found: Found) -> Event | None:
        """The event, if this subscription listens to it and has not finished it."""
        offset, event = found.offset, found.event
        if share.cursor.is_settled(offset):
            return None
        if 0 <= found.burst < self._since:  # accepted before the group was there, and dispatched after
            return None
        if event is None:
            if share.met(offset):
                share.set_aside(offset, found.unreadable, Status.DROPPED.value)
            return None
        if not self._subscription.selector.matches(type(event), event.type):
            return None
        where = self._subscription.policy.where
        if where is not None:
            try:
                known = self._known.pop(offset, None)
                does = bool(where(event)) if known is None else known
            except BaseException as error:  # noqa: BLE001 - the user's code: this event fails, and only this one
                if share.met(offset):
                    self._give_up(share, found, event, "where= raised", error)
                return None
            if not does:
                return None
        share.met(offset)
        return event
