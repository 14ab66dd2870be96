"""Interface: what every bus promises, typed. `EventBus` is the whole of it; programs are written and checked against this page.

Generic in the event class: `@bus.on(Fill)` takes a handler of `Fill` or of a base, `stream(Fill)` gives fills, `request(ask)`
gives what the class of `ask` says it is answered with. Knows the values and the handles, and no bus.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypedDict, TypeVar, Unpack, overload

from eventbus.causality import Explanation
from eventbus.dead_letter import DeadLetters
from eventbus.event import Event, Request
from eventbus.journal.protocol import Journal
from eventbus.journal.values import Start, Trimmed
from eventbus.outcome import ShutdownReport
from eventbus.policy import OnFailure, Overflow, Retry
from eventbus.road.part import Delivery
from eventbus.road.receipt import Receipt
from eventbus.stats import BusStats
from eventbus.stream import Stream
from eventbus.subscription import Subscription
from eventbus.tap import Tap, Tapped

E = TypeVar("E", bound=Event)
Answer = TypeVar("Answer")
Returned = TypeVar("Returned")

Handler = Callable[[E], object] | Callable[[E, Delivery], object]
"""What is subscribed: it takes the event, or the event and its delivery. Coroutine functions are awaited, others run in a thread."""

Selects = type[Event] | str
"""What is subscribed to: a class and its subclasses, a dotted type, or a wildcard."""

Place = int | datetime | None
"""Where in the journal: an offset, a time, or (None) its end on that side."""


class PolicyOptions(TypedDict, total=False):
    """What a subscription may ask for, by keyword. `eventbus.Policy` says what each means, and refuses what cannot be."""

    name: str | None
    where: Callable[[Any], object] | None
    concurrency: int
    key: str | Callable[[Any], Hashable] | None
    timeout: float | None
    retry: Retry | None
    overflow: Overflow | Literal["block", "reject", "drop_oldest", "drop_newest", "latest_by_key"] | None
    queue_size: int | None
    max_age: float | None
    on_failure: OnFailure | Literal["dead_letter", "drop", "halt"]
    isolation: Literal["auto", "task"]
    replay_last: bool
    durable: bool
    group: str | None
    start: Start
    parts: int | None


class Stats(TypedDict):
    """What `get_stats` gives: the bus in a few numbers."""

    published: int
    dispatched: int
    errors: int
    queue_size: int
    handler_types: int
    total_handlers: int
    retried: int
    dead_lettered: int
    dropped: int
    expired: int
    pending: int
    in_flight: int
    dispatch_p50_ms: float
    dispatch_p99_ms: float
    uptime_s: float


class Listening(Protocol[E]):
    """What `on` gives: a decorator for a handler of that event, which stays what it was."""

    @overload
    def __call__(self, handler: Callable[[E], Returned], /) -> Callable[[E], Returned]: ...
    @overload
    def __call__(self, handler: Callable[[E, Delivery], Returned], /) -> Callable[[E, Delivery], Returned]: ...


class EventBus(Protocol):
    """A typed event bus, whatever it is made of: what `create_event_bus` gives."""

    name: str
    capabilities: frozenset[str]

    # --- publish -------------------------------------------------------------------------------------------------

    async def publish(
        self,
        event: Event | str,
        payload: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        cause: Event | None = None,
    ) -> Receipt:
        """Hand an event to the bus; returns when it is accepted. A type and a payload make an ad-hoc event.

        Waits while the door is full, at most `timeout` seconds; a publish from inside a handler never waits. `cause` names
        the event that led to it, where that is not the one being handled. Raises `PublishTimeout`, `WouldDeadlock`,
        `HopLimit`, `Halted`, `BusStopped`, `WrongLoop`, `WrongProcess`; nothing was accepted then.
        """
        ...

    def publish_nowait(
        self, event: Event | str, payload: Mapping[str, Any] | None = None, *, cause: Event | None = None
    ) -> Receipt:
        """Like `publish`, without waiting. Raises `QueueFull` when the door is full, `ReentrantPublish` in a signal handler.

        On a bus with a journal the event is dispatched after its commit; `await receipt` raises if that fails.
        """
        ...

    def publish_threadsafe(
        self, event: Event | str, payload: Mapping[str, Any] | None = None, *, cause: Event | None = None
    ) -> concurrent.futures.Future[Receipt]:
        """Publish from any thread; the future gets the receipt or the exception. Raises `BusNotRunning` before the bus has a loop."""
        ...

    async def publish_many(
        self, events: Iterable[Event], *, timeout: float | None = None, cause: Event | None = None
    ) -> list[Receipt]:
        """Publish one after the other, in as few bursts as may be; returns their receipts. `timeout` is for each.

        What raises stands for the event that could not enter: those before it are accepted, those after it are not. Publishing the
        same events again is safe where a journal knows them by their ids.
        """
        ...

    async def publish_and_wait(
        self,
        event: Event | str,
        payload: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        cause: Event | None = None,
    ) -> list[BaseException]:
        """Publish and wait until it is settled; returns the exceptions of deliveries that did not succeed in the end."""
        ...

    @overload
    async def request(
        self, event: Request[Answer], *, timeout: float | None = None, cause: Event | None = None
    ) -> Answer: ...
    @overload
    async def request(
        self,
        event: Event | str,
        payload: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        cause: Event | None = None,
    ) -> object: ...
    async def request(
        self,
        event: Event | str,
        payload: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        cause: Event | None = None,
    ) -> object:
        """Publish and return what the first subscription in order answered: its handler's return value, or its `reply`.

        Raises what the handler raised, `NoReply` when nobody answered, `TimeoutError` after `timeout` seconds; where other processes
        may answer, a time-out is required, and nobody's answer is its end.
        """
        ...

    # --- subscribe -----------------------------------------------------------------------------------------------

    @overload
    def subscribe(self, selector: type[E], handler: Handler[E], **policy: Unpack[PolicyOptions]) -> Subscription: ...
    @overload
    def subscribe(self, selector: str, handler: Handler[Any], **policy: Unpack[PolicyOptions]) -> Subscription: ...
    def subscribe(self, selector: Any, handler: Handler[Any], **policy: Unpack[PolicyOptions]) -> Subscription:
        """Listen: to a class and its subclasses, a dotted type, or a wildcard.

        The handler takes `(event)` or `(event, delivery)`; sync ones run in the thread pool. Subscribing the same handler
        twice delivers twice. `replay_last` delivers the retained events first; `durable` or `group` keep a cursor:
        a new one begins with what comes after it, with `start="beginning"` at the oldest event that is kept. Raises
        `InvalidSelector` and `PolicyConflict`.
        """
        ...

    @overload
    def on(self, selector: type[E], **policy: Unpack[PolicyOptions]) -> Listening[E]: ...
    @overload
    def on(self, selector: str, **policy: Unpack[PolicyOptions]) -> Listening[Any]: ...
    def on(self, selector: Any, **policy: Unpack[PolicyOptions]) -> Listening[Any]:
        """`subscribe` as a decorator; the function stays what it was."""
        ...

    @overload
    def stream(self, selector: type[E], **policy: Unpack[PolicyOptions]) -> Stream[E]: ...
    @overload
    def stream(self, selector: str, **policy: Unpack[PolicyOptions]) -> Stream[Event]: ...
    def stream(self, selector: Any, **policy: Unpack[PolicyOptions]) -> Stream[Any]:
        """Events as an async iterator; it listens from the call on. Policies as for `subscribe`."""
        ...

    @overload
    def expect(
        self, selector: type[E], *, where: Callable[[E], object] | None = None, timeout: float | None = None
    ) -> Coroutine[Any, Any, E]: ...
    @overload
    def expect(
        self, selector: str, *, where: Callable[[Any], object] | None = None, timeout: float | None = None
    ) -> Coroutine[Any, Any, Event]: ...
    def expect(
        self, selector: Any, *, where: Callable[[Any], object] | None = None, timeout: float | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Wait for the next event of that kind; it listens from the call on.

        Raises `TimeoutError`, `BusNotRunning`, and `BusStopped` when the bus is shut down before it comes.
        """
        ...

    def tap(self, callback: Tapped) -> Tap:
        """Call back with whole bursts in dispatch order. What raises is counted and logged, and removed after 10 in a row."""
        ...

    def unsubscribe(self, selector: Selects, handler: Callable[..., object]) -> bool:
        """Cancel the oldest subscription of this handler to this selector; False when there is none."""
        ...

    def get_handler_count(self, selector: Selects | None = None) -> int:
        """How many subscriptions there are to exactly this selector; without one, in all."""
        ...

    def clear_handlers(self, selector: Selects | None = None) -> int:
        """Cancel all subscriptions to this selector, or all there are; returns how many."""
        ...

    @overload
    def last(self, selector: type[E], key: Hashable = None) -> E | None: ...
    @overload
    def last(self, selector: str, key: Hashable = None) -> Event | None: ...
    def last(self, selector: Any, key: Hashable = None) -> Event | None:
        """The retained event of a class or type: the last one of that key, or the last of all; None when there is none."""
        ...

    # --- life ----------------------------------------------------------------------------------------------------

    def run_forever(self) -> Coroutine[Any, Any, None]:
        """The dispatcher: running counts from the call on. Returns after `stop()`, idle or busy; may be called again then.

        Cancelling it stops the bus too. Where the bus runs already it waits for the same end.
        """
        ...

    def stop(self) -> None:
        """Ask the dispatcher to end after the batch in hand. From anywhere: a handler, another thread, a signal handler."""
        ...

    async def connect(self, wait: float = 0.0) -> Self:
        """Start the dispatcher as a task of the bus, unless it runs already. A server that is down is tried for `wait` seconds more."""
        ...

    async def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing is pending, cascades included. True when drained, False on time-out.

        Raises `BusNotRunning` when something is pending and nobody works on it, or no longer, `WouldDeadlock` inside a handler.
        """
        ...

    async def shutdown(self, timeout: float | None = 10.0) -> ShutdownReport:
        """Stop accepting, drain for at most `timeout` seconds, end everything. Idempotent; goes on if its caller is cancelled.

        Cascades of handlers still enter while it drains. Raises `ReentrantStop` inside a handler: call `stop()` there.
        """
        ...

    async def close(self, timeout: float | None = 10.0) -> ShutdownReport:
        """The same as `shutdown`."""
        ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    # --- halt ----------------------------------------------------------------------------------------------------

    def halt(self, reason: str) -> str:
        """Refuse events of kind EXECUTION until `rearm`; returns the token for it. Halting again keeps the first reason."""
        ...

    async def rearm(self, token: str) -> None:
        """Clear the halt. Raises `PolicyConflict` for a token that `halt` did not give."""
        ...

    async def halted_everywhere(self, timeout: float = 5.0) -> dict[str, bool | None]:
        """Which live processes have seen the halt, or its end: True, or None for those that have not within so many seconds."""
        ...

    @property
    def is_halted(self) -> bool: ...

    @property
    def halt_reason(self) -> str | None:
        """Why the bus is halted; None when it is not."""
        ...

    # --- look ----------------------------------------------------------------------------------------------------

    @property
    def dead_letters(self) -> DeadLetters:
        """What nobody could handle: `await` its `list`, `redrive` and `purge`."""
        ...

    @property
    def is_running(self) -> bool:
        """Does a dispatcher run?"""
        ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop it runs on; None before it ran."""
        ...

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """The live subscriptions, oldest first."""
        ...

    def get_stats(self) -> Stats:
        """The bus in a few numbers, in a time that does not depend on how many subscriptions there are."""
        ...

    def stats(self) -> BusStats:
        """A snapshot of the bus, per type and per subscription."""
        ...

    def run_time(self) -> tuple[int, int]:
        """Attempts that ended so far, and the nanoseconds they ran: for who looks often, and needs no snapshot."""
        ...

    async def accept_data_loss(self) -> None:
        """Go on with what a server has that lost some of it. Raises `PolicyConflict` on a bus without one."""
        ...

    async def explain(self, event_id: str) -> Explanation:
        """The causal tree of an event: parents to the root, children to the leaves. Raises `LookupError`."""
        ...

    # --- journal: on a bus without one these raise `PolicyConflict` at the call --------------------------------------

    @property
    def journal(self) -> Journal:
        """The journal that it is kept in."""
        ...

    def replay(
        self, since: Place = None, until: Place = None, types: str = "*", where: Callable[[Any], object] | None = None
    ) -> AsyncIterator[Event]:
        """Events of the journal, oldest first, both ends inclusive. It never reaches live subscriptions."""
        ...

    async def replay_to(
        self,
        handler: Callable[..., object],
        since: Place = None,
        until: Place = None,
        types: str = "*",
        where: Callable[[Any], object] | None = None,
        *,
        speed: float = 0,
    ) -> int:
        """Call `handler` with each event of `replay`; returns how many. `speed` 1 keeps the pace of their timestamps, 0 none."""
        ...

    async def flush(self) -> None:
        """Wait until everything accepted so far is durable. Raises what the journal answered, `WouldDeadlock` inside a handler."""
        ...

    async def trim(
        self, *, before: int | datetime | None = None, max_bytes: int | None = None, force: bool = False
    ) -> Trimmed:
        """Remove old events; what a durable subscription has not finished stays, unless `force`."""
        ...
