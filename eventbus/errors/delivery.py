"""Delivery: what keeps an event from being taken in, read, delivered or shown; and what a handler raises to steer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from eventbus.errors.usage import EventBusError, PolicyConflict
from eventbus.wording import shown


class DeliveryError(EventBusError):
    """An event could not be taken in, or a delivery could not be finished."""


class QueueFull(DeliveryError):
    """The door is shut and the call may not wait. Await `publish()`, raise `max_queue_size`, or choose a lossy policy."""

    def __init__(self, size: int, where: str = "the bus") -> None:
        super().__init__(
            f"{where} holds {size} unsettled events: await publish(), raise max_queue_size or use a lossy policy"
        )
        self.size = size


class PublishTimeout(DeliveryError, TimeoutError):
    """Nobody took the event until the time-out; nothing was accepted. Publish again later, or mend what `reason` names."""

    def __init__(self, timeout: float, reason: str = "no room: see bus.stats() for the slow subscription") -> None:
        super().__init__(f"nothing was accepted within {timeout:g} s, {reason}")
        self.timeout = timeout
        self.reason = reason


class WouldDeadlock(DeliveryError):
    """A handler would wait for itself: for room in a full bus, or for what only its own subscription, or a circle of them, can settle.

    `size` is how many events wait at the door; `circle` names the subscriptions that would wait for each other. Raise
    `max_queue_size` or publish less per event; raise `concurrency`, publish without waiting, or wait outside of the handler.
    """

    def __init__(self, size: int = 0, *, call: str = "publish()", circle: Iterable[str] = ()) -> None:
        self.size = size
        self.call = call
        self.circle = tuple(circle)
        if self.circle:
            chain = " -> ".join((*self.circle, self.circle[0]))
            super().__init__(
                f"{call} inside a handler would wait for itself ({chain}): raise concurrency= or do not wait there"
            )
        else:
            super().__init__(
                f"published inside a handler while {size} events wait and the reserve is used up: raise max_queue_size"
            )


class HopLimit(DeliveryError):
    """A causal chain grew longer than the limit: handlers feed each other in a circle. Break the circle."""

    def __init__(self, event_type: str, limit: int) -> None:
        super().__init__(
            f"{event_type} would be hop {limit + 1} of one causal chain (limit {limit}): handlers feed each other"
        )
        self.type = event_type
        self.limit = limit


class HandlerTimeout(DeliveryError, TimeoutError):
    """An attempt ran past the deadline of its subscription. Raise `timeout`, or make the handler faster."""

    def __init__(self, subscription: str, timeout: float, cause: BaseException | None = None) -> None:
        super().__init__(f"handler of {subscription!r} ran longer than {timeout:g} s: raise timeout= or make it faster")
        self.subscription = subscription
        self.timeout = timeout
        self.__cause__ = cause  # what the handler made of its cancellation


class Halted(DeliveryError):
    """The kill switch is set: events of kind EXECUTION are refused until `rearm(token)`."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"refused while halted: {reason}; bus.rearm(token) clears the halt")
        self.reason = reason


class NoReply(DeliveryError, LookupError):
    """A request found nobody who answered. Subscribe a handler that returns a value, or calls `delivery.reply(value)`."""

    def __init__(self, event_type: str, deliveries: int) -> None:
        super().__init__(
            f"{event_type} was delivered {deliveries} times and answered by nobody: return a value from its handler"
            if deliveries
            else f"nobody listens to {event_type}: subscribe a handler that returns a value"
        )
        self.type = event_type
        self.deliveries = deliveries


class HandlerCancelled(DeliveryError):
    """A handler ended as cancelled although the bus did not cancel it: it cancelled its own task, or awaited something cancelled."""

    def __init__(self, subscription: str, cause: BaseException | None = None) -> None:
        super().__init__(
            f"handler of {subscription!r} was cancelled, and not by the bus: it cancelled itself or what it awaited"
        )
        self.subscription = subscription
        self.__cause__ = cause


class CodecError(EventBusError):
    """An event cannot become bytes, or bytes cannot become an event. `field` names where.

    No `ValueError`: pydantic would make one of its own of it, and say less.
    """

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.reason = reason
        self.field = field


class GatewayError(EventBusError):
    """The gateway refused to start or to serve. The message names the setting and the remedy."""


# --- signals: a handler raises these to steer, they are not errors -----------------------------------------------


class RetryLater(Exception):
    """Raised by a handler: this attempt did not work out, try again `after` seconds (None: as the policy says).

    `after` is a number of seconds from 0 on, or a `timedelta`. Raises `PolicyConflict` for anything else.
    """

    def __init__(self, reason: str = "", *, after: float | timedelta | None = None) -> None:
        super().__init__(_reason(reason) or "retry later")
        self.reason = reason
        self.after = None if after is None else _pause(after)


class Reject(Exception):
    """Raised by a handler: this delivery can never work; it becomes a dead letter at once, with the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(_reason(reason))
        self.reason = reason


_LONGEST_PAUSE = timedelta(days=36_525)


def _reason(reason: object) -> str:
    if isinstance(reason, str):
        return reason
    raise PolicyConflict("reason", f"{shown(reason)} is no text: the reason comes first, RetryLater('why', after=2.0)")


def _pause(after: object) -> float:
    pause = after.total_seconds() if isinstance(after, timedelta) else after
    if isinstance(pause, int | float) and not isinstance(pause, bool) and 0 <= pause <= _LONGEST_PAUSE.total_seconds():
        return float(pause)
    raise PolicyConflict("after", f"{shown(after)} is not a number of seconds from 0 on, nor a timedelta")
