"""Telling: failures in the log, without drowning in them. The first of each kind in a minute is told whole, the others counted.

A kind is a subscription and what was raised. Knows no delivery and no policy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from eventbus.log import log

if TYPE_CHECKING:
    from eventbus.event import Event
    from eventbus.failure import Failure
    from eventbus.road.lifetime import Lifetime

_MINUTE_S = 60.0
_KINDS = 1_000  # told apart within one minute; more are counted under the subscription


class FailureLog:
    """What was told within the running minute, and how much came after it."""

    def __init__(self, lifetime: Lifetime) -> None:
        self._lifetime = lifetime
        self._more: dict[tuple[str, str, str], int] = {}  # by what became of it, subscription and kind
        self._ends: Callable[[], None] | None = None

    def tell(self, subscription: str, event: Event, reason: str, failure: Failure, *, is_dead_lettered: bool) -> None:
        """A delivery was given up: it `is_dead_lettered`, or else dropped."""
        became = "dead-lettered" if is_dead_lettered else "dropped"
        kind = (became, subscription, failure.kind if len(self._more) < _KINDS else "others")
        if kind in self._more:
            self._more[kind] += 1
            return
        self._more[kind] = 0
        log.error(
            "delivery %s: %s could not handle %s %s (%s): %s\n%s",
            became,
            subscription,
            event.type,
            event.event_id,
            reason,
            failure.text,
            failure.traceback,
            extra={
                "subscription": subscription,
                "type": event.type,
                "event_id": event.event_id,
                "reason": reason,
                "error": failure.text,
                "exception": failure.traceback,
            },
        )
        if self._ends is None:
            timer = self._lifetime.crew.call_later(_MINUTE_S, self.end_minute)
            self._ends = None if timer is None else timer.cancel

    def end_minute(self) -> None:
        """Say how many more there were, and begin anew."""
        if self._ends is not None:
            self._ends()
            self._ends = None
        more, self._more = self._more, {}
        for (became, subscription, kind), count in more.items():
            if count:
                log.error(
                    "delivery %s: %s, and %d more of %s",
                    became,
                    subscription,
                    count,
                    kind,
                    extra={"subscription": subscription, "error_type": kind, "more": count},
                )
