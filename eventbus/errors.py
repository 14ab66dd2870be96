"""Errors: everything the bus can raise, under one root, each with what happened and the remedy.

Facts are attributes, so that code can act on them and logs can carry them. Knows nothing of what raises them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from eventbus.wording import shown


class EventBusError(Exception):
    """Root of every error of `eventbus`. Catch it to catch them all."""


# --- usage: the caller can mend these ------------------------------------------------------------------------------


class UsageError(EventBusError):
    """The bus was called in a way it cannot honour."""


class BusNotRunning(UsageError):
    """The call would wait for ever because no dispatcher runs. Start `run_forever()` or enter `async with bus` first."""

    def __init__(self, call: str) -> None:
        super().__init__(f"{call} needs a running dispatcher: start bus.run_forever() or use 'async with bus' first")
        self.call = call


class BusStopped(UsageError):
    """The bus was shut down and accepts nothing more. Build a new bus, or publish before `shutdown()`."""

    def __init__(self, call: str = "publish") -> None:
        super().__init__(f"{call} refused: the bus was shut down; build a new bus or publish before shutdown()")
        self.call = call


class WrongLoop(UsageError):
    """The bus belongs to another event loop or thread. Use `publish_threadsafe()` from there."""

    def __init__(self, call: str) -> None:
        super().__init__(
            f"{call} called off the loop that owns the bus: use bus.publish_threadsafe() from other threads"
        )
        self.call = call


class WrongProcess(UsageError):
    """The bus, or what watches it, was started in another process, of which this one is a fork: build another in each process."""

    def __init__(self, call: str, pid: int, what: str = "bus") -> None:
        super().__init__(
            f"{call} called in a fork of process {pid}, which owns the {what}: build a {what} in each process"
        )
        self.call = call
        self.pid = pid


class ReentrantPublish(UsageError):
    """A signal handler interrupted the bus and published into it. Use `loop.add_signal_handler()`, or `publish_threadsafe()`."""

    def __init__(self, call: str = "publish_nowait()") -> None:
        super().__init__(
            f"{call} interrupted the bus at its own work, as a signal handler does: use loop.add_signal_handler() "
            "or bus.publish_threadsafe()"
        )
        self.call = call


class ReentrantStop(UsageError):
    """A handler waited for the end of itself. Call `bus.stop()` (it only asks), or end the bus from outside a handler."""

    def __init__(self, call: str) -> None:
        super().__init__(f"{call} awaited inside a running handler would wait for itself: call bus.stop() instead")
        self.call = call


class UnknownBackend(UsageError, ValueError):
    """No backend of this name is registered. Choose one of `available`, or `register_backend()` your own."""

    def __init__(self, name: str, available: Iterable[str]) -> None:
        self.name = name
        self.available = tuple(sorted(available))
        super().__init__(f"unknown backend {name!r}: available are {', '.join(self.available)}")


class BackendTaken(UsageError, ValueError):
    """A backend of this name is registered already. Choose another name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"backend {name!r} is registered already: choose another name")
        self.name = name


class MissingDriver(UsageError, ImportError):
    """The backend is known but its driver is not installed. Install the extra that the message names."""

    def __init__(self, backend: str, extra: str) -> None:
        super().__init__(f"backend {backend!r} needs its driver: pip install 'quantum-trader[{extra}]'")
        self.backend = backend
        self.extra = extra


class InvalidSelector(UsageError, ValueError):
    """Nothing can be subscribed by this. Use an Event class, a dotted type such as 'trade.executed', or a wildcard 'trade.*'."""

    def __init__(self, selector: object, reason: str) -> None:
        super().__init__(
            f"selector {shown(selector)} {reason}: use an Event class, a dotted type, or a wildcard such as 'trade.*'"
        )
        self.selector = selector
        self.reason = reason


class InvalidEventType(UsageError, ValueError):
    """The type name of an event is not a dotted wire name. Use letters, digits and _ . : - , at most 128 of them."""

    def __init__(self, name: object) -> None:
        super().__init__(
            f"event type {shown(name)} is not a wire name: use letters, digits and '_.:-', at most 128 of them"
        )
        self.name = name


class DuplicateEventType(UsageError, ValueError):
    """Two classes claim one type. Rename one, or give the newer a `version` and drop the older class."""

    def __init__(self, type_name: str, existing: str, newcomer: str) -> None:
        super().__init__(f"event type {type_name!r} of {newcomer} is taken by {existing}: choose another type name")
        self.type = type_name
        self.existing = existing
        self.newcomer = newcomer


class PolicyConflict(UsageError, ValueError):
    """A policy cannot be had: it contradicts itself, the kind of the event, or what the backend can do."""

    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(f"{argument}: {reason}")
        self.argument = argument
        self.reason = reason


# --- delivery ------------------------------------------------------------------------------------------------------


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
    """The door stayed shut until the time-out; nothing was accepted. Publish again later, or find the slow subscription in `stats()`."""

    def __init__(self, timeout: float) -> None:
        super().__init__(
            f"no room within {timeout:g} s, nothing was accepted: see bus.stats() for the slow subscription"
        )
        self.timeout = timeout


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


# --- codec ---------------------------------------------------------------------------------------------------------


class CodecError(EventBusError):
    """An event cannot become bytes, or bytes cannot become an event. `field` names where.

    No `ValueError`: pydantic would make one of its own of it, and say less.
    """

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.reason = reason
        self.field = field


# --- journal -------------------------------------------------------------------------------------------------------


class JournalError(EventBusError):
    """The durable log could not do what was asked."""


class JournalUnavailable(JournalError):
    """The journal cannot be written or read now; nothing was accepted. Free the disk or fix the mount, then publish again."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"journal {path}: {reason}; nothing was accepted")
        self.path = path
        self.reason = reason


class JournalInUse(JournalError):
    """Another process writes this journal. Stop it, or use another file."""

    def __init__(self, path: str, owner: str) -> None:
        super().__init__(f"journal {path} is in use by {owner}: stop it or use another file")
        self.path = path
        self.owner = owner


class JournalDamaged(JournalError):
    """Records are missing or altered, or it cannot be told. Restore a copy, or open with allow_damaged=True (a copy is kept first).

    `is_end`: only its end is missing or in doubt; `accept_end=True`, or `eventbus repair FILE --accept-end`, goes on with what is there.
    """

    def __init__(
        self, path: str, *, first_bad: int | None, last_good: int, expected: int, reason: str, is_end: bool = False
    ) -> None:
        remedy = (
            "accept the end as it is (eventbus repair FILE --accept-end)"
            if is_end
            else "open it with allow_damaged=True"
        )
        super().__init__(
            f"journal {path} is damaged ({reason}): last good record {last_good}, expected {expected}; "
            f"restore a copy or {remedy}"
        )
        self.path = path
        self.first_bad = first_bad
        self.last_good = last_good
        self.expected = expected
        self.reason = reason
        self.is_end = is_end


class IdConflict(JournalError, ValueError):
    """An event with this id but another body is journalled already. Give the new fact a new id."""

    def __init__(self, event_id: str) -> None:
        super().__init__(f"event id {event_id} is journalled already with another body: give the new fact a new id")
        self.event_id = event_id


class OutcomeUnknown(JournalError):
    """The connection broke during the commit: the event may be accepted or not. Publish the same event again, its id settles it."""

    def __init__(self, event_id: str, reason: str) -> None:
        super().__init__(f"event {event_id} may or may not be accepted ({reason}): publish the same event again")
        self.event_id = event_id
        self.reason = reason


class OffsetGone(JournalError, LookupError):
    """The offset was removed by retention. Start from `oldest`, or from a snapshot."""

    def __init__(self, offset: int, oldest: int) -> None:
        super().__init__(f"offset {offset} was removed by retention: the oldest kept is {oldest}")
        self.offset = offset
        self.oldest = oldest


# --- observability -------------------------------------------------------------------------------------------------


class MetricsPortUnavailable(UsageError):
    """The metrics page cannot be served there. Choose another port, or 0 for any free one, or stop the process that has it."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"metrics port {port} on {host}: {reason}; choose another port, or 0 for any free one, or stop what uses it"
        )
        self.host = host
        self.port = port
        self.reason = reason


# --- gateway -------------------------------------------------------------------------------------------------------


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
