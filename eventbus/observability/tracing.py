"""Tracing: OpenTelemetry spans of what a bus does: PRODUCER at each publish, CONSUMER around each attempt. Needs the extra `otel`.

    bus = traced_bus(create_event_bus("sqlite:///run.db"))

Every event carries the span that published it, as the W3C `traceparent` in its metadata: through journals, servers and the gateway.
In the process that published it a handler's span is a child of that span; where the event was read back, or came from another
process, its span begins a trace of its own with a link to it. Nothing of a bus knows that it is traced.
"""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

from eventbus.errors import MissingDriver
from eventbus.event import Event, add_metadata, event_of
from eventbus.interface import EventBus
from eventbus.road.context import inside
from eventbus.subscription import Subscription, is_async, title_of

if TYPE_CHECKING:
    from eventbus.road.receipt import Receipt

try:
    from opentelemetry.context import Context
    from opentelemetry.trace import (
        Link,
        NoOpTracer,
        ProxyTracer,
        Span,
        SpanContext,
        SpanKind,
        StatusCode,
        Tracer,
        TracerProvider,
        get_current_span,
        get_tracer,
        get_tracer_provider,
    )
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise MissingDriver("tracing", "otel") from error

H = TypeVar("H", bound=Callable[..., Any])
_Payload = Mapping[str, Any] | None
SYSTEM: Final = "eventbus"
_propagator = TraceContextTextMapPropagator()


def traced(handler: H, *, tracer: Tracer | None = None) -> H:
    """The handler, in a span "process <type>" of kind CONSUMER. What it raises marks the span as failed and is raised on.

    The span of a sync handler ends with its call: an awaitable that it returns is not part of it.
    """
    source = tracer or get_tracer(SYSTEM)

    async def run(event: Event, *delivery: Any) -> Any:
        with consuming(event, tracer=source, named=handler):
            return await handler(event, *delivery)

    def call(event: Event, *delivery: Any) -> Any:
        with consuming(event, tracer=source, named=handler):
            return handler(event, *delivery)

    wrapper = run if is_async(handler) else call
    return functools.wraps(handler)(wrapper)  # type: ignore[return-value]


@contextmanager
def consuming(
    event: Event, *, tracer: Tracer | None = None, named: Callable[..., Any] | str = "consumer"
) -> Iterator[Span]:
    """The span of whoever works on an event: in a stream, a replay, a client of a gateway. Handlers have theirs by `traced`."""
    mark, here, published = inside(), get_current_span().get_span_context(), context_of(event)
    links = [] if published is None or published.trace_id == here.trace_id else [Link(published)]
    title = named if isinstance(named, str) else title_of(named)
    with (tracer or get_tracer(SYSTEM)).start_as_current_span(
        f"process {event.type}",
        kind=SpanKind.CONSUMER,
        attributes={
            **attributes_of(event),
            "messaging.operation.type": "process",
            "messaging.destination.subscription.name": title if mark is None else mark[0].worker.name,
        },
        links=links,
    ) as span:
        yield span


def context_of(event: Event) -> SpanContext | None:
    """The span that published it, as its metadata say; None where they say nothing that can be read."""
    carried = {name: value for name, value in event.metadata.items() if isinstance(value, str)}
    found = get_current_span(_propagator.extract(carried, Context())).get_span_context()
    return found if found.is_valid else None


def attributes_of(event: Event) -> dict[str, str]:
    """What the conventions for messaging say of every message."""
    return {
        "messaging.system": SYSTEM,
        "messaging.destination.name": event.type,
        "messaging.message.id": event.event_id,
        "messaging.message.conversation_id": event.correlation_id,
    }


@contextmanager
def producing(events: Sequence[Event], operation: str, *, tracer: Tracer, ends: bool = True) -> Iterator[Span]:
    """The span of a publish, current until it is over: handlers of this process are below it. What is raised marks it.

    Each event carries it from now on, unless it carries one already: then the two are linked.
    """
    carriers = {(found.trace_id, found.span_id): found for found in map(context_of, events) if found is not None}
    links = [*map(Link, carriers.values())]
    attributes: dict[str, str | int] = {"messaging.system": SYSTEM, "messaging.batch.message_count": len(events)}
    if len(events) == 1:
        attributes = {**attributes_of(events[0])}
    attributes |= {"messaging.operation.type": "send", "messaging.operation.name": operation}
    types = {event.type for event in events}
    name = f"publish {types.pop()}" if len(types) == 1 else "publish"
    with tracer.start_as_current_span(
        name, kind=SpanKind.PRODUCER, attributes=attributes, links=links, end_on_exit=ends
    ) as span:
        carried: dict[str, str] = {}
        _propagator.inject(carried)
        for event in events:
            if "traceparent" not in event.metadata:
                add_metadata(event, **carried)
        yield span


def traced_bus(bus: EventBus, tracer_provider: TracerProvider | None = None) -> EventBus:
    """`bus`, traced: whatever is published, subscribed and replayed through what this returns.

    Spans go to `tracer_provider`, or to the global one: set that up first. Where there is none, or it is switched off
    (`OTEL_SDK_DISABLED=true`), this gives `bus` itself, and costs nothing.
    """
    tracer = (tracer_provider or get_tracer_provider()).get_tracer(SYSTEM)
    if isinstance(tracer, NoOpTracer | ProxyTracer):
        return bus
    return cast(EventBus, _TracedBus(bus, tracer))


class _TracedBus:
    """An `EventBus`: what has no span is that of the bus itself."""

    def __init__(self, bus: EventBus, tracer: Tracer) -> None:
        self._bus = bus
        self._tracer = tracer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    # --- publish -----------------------------------------------------------------------------------------------------

    async def publish(self, event: Event | str, payload: _Payload = None, **options: Any) -> Receipt:
        fact = event_of(event, payload)
        with producing([fact], "publish", tracer=self._tracer):
            return await self._bus.publish(fact, **options)

    def publish_nowait(self, event: Event | str, payload: _Payload = None, **options: Any) -> Receipt:
        fact = event_of(event, payload)
        with producing([fact], "publish_nowait", tracer=self._tracer):
            return self._bus.publish_nowait(fact, **options)

    def publish_threadsafe(
        self, event: Event | str, payload: _Payload = None, **options: Any
    ) -> concurrent.futures.Future[Receipt]:
        fact = event_of(event, payload)
        with producing([fact], "publish_threadsafe", tracer=self._tracer, ends=False) as span:
            future = self._bus.publish_threadsafe(fact, **options)

        def ended(done: concurrent.futures.Future[Receipt]) -> None:
            if not done.cancelled() and (error := done.exception()) is not None:
                span.record_exception(error)
                span.set_status(StatusCode.ERROR, type(error).__name__)
            span.end()

        future.add_done_callback(ended)
        return future

    async def publish_many(self, events: Iterable[Event], **options: Any) -> list[Receipt]:
        facts = [*events]
        with producing(facts, "publish_many", tracer=self._tracer):
            return await self._bus.publish_many(facts, **options)

    async def publish_and_wait(
        self, event: Event | str, payload: _Payload = None, **options: Any
    ) -> list[BaseException]:
        fact = event_of(event, payload)
        with producing([fact], "publish_and_wait", tracer=self._tracer):
            return await self._bus.publish_and_wait(fact, **options)

    async def request(self, event: Event | str, payload: _Payload = None, **options: Any) -> object:
        fact = event_of(event, payload)
        with producing([fact], "request", tracer=self._tracer):
            return await self._bus.request(fact, **options)

    # --- subscribe ---------------------------------------------------------------------------------------------------

    def subscribe(self, selector: Any, handler: Callable[..., object], **policy: Any) -> Subscription:
        if not {"name", "group"} & policy.keys():
            policy["name"] = title_of(handler)  # of a partial, too
        return self._bus.subscribe(selector, traced(handler, tracer=self._tracer), **policy)

    def on(self, selector: Any, **policy: Any) -> Callable[[H], H]:
        def decorate(handler: H) -> H:
            self.subscribe(selector, handler, **policy)
            return handler

        return decorate

    def unsubscribe(self, selector: Any, handler: Callable[..., object]) -> bool:
        wrapped = [
            one.handler for one in self._bus.subscriptions if getattr(one.handler, "__wrapped__", None) == handler
        ]
        return any(self._bus.unsubscribe(selector, one) for one in (*wrapped, handler))

    async def replay_to(self, handler: Callable[..., object], *args: Any, **options: Any) -> int:
        return await self._bus.replay_to(traced(handler, tracer=self._tracer), *args, **options)

    # --- life: what gives the bus gives this one ----------------------------------------------------------------------

    async def connect(self, wait: float = 0.0) -> Self:
        await self._bus.connect(wait)
        return self

    async def __aenter__(self) -> Self:
        await self._bus.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._bus.__aexit__(kind, error, trace)
