"""Usage: the root of all errors, and those of a bus that was called in a way it cannot honour. The caller can mend these."""

from __future__ import annotations

from collections.abc import Iterable

from eventbus.wording import shown


class EventBusError(Exception):
    """Root of every error of `eventbus`. Catch it to catch them all."""


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
    """What was asked for, a backend, the gateway or tracing, needs a library that is not here. Install the extra that is named."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs what is not installed: pip install 'quantum-trader[{extra}]'")
        self.what = what
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
    """Two classes claim one type. Rename one, or give the newer a `version` and drop the older class.

    A file that is run as the program and imported by a module, too, is two: put its events into a module of their own.
    """

    def __init__(self, type_name: str, existing: str, newcomer: str) -> None:
        name, _, rest = existing.partition(".")
        is_one_file = name == "__main__" and newcomer.endswith(f".{rest}")
        remedy = (
            "a file that is run is not the module that is imported, so keep events in a module of their own"
            if is_one_file
            else "choose another type name"
        )
        super().__init__(f"event type {type_name!r} of {newcomer} is taken by {existing}: {remedy}")
        self.type = type_name
        self.existing = existing
        self.newcomer = newcomer


class PolicyConflict(UsageError, ValueError):
    """A policy cannot be had: it contradicts itself, the kind of the event, or what the backend can do."""

    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(f"{argument}: {reason}")
        self.argument = argument
        self.reason = reason


class MetricsPortUnavailable(UsageError):
    """The metrics page cannot be served there. Choose another port, or 0 for any free one, or stop the process that has it."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"metrics port {port} on {host}: {reason}; choose another port, or 0 for any free one, or stop what uses it"
        )
        self.host = host
        self.port = port
        self.reason = reason
