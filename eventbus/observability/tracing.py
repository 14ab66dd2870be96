"""Tracing: an OpenTelemetry span around each attempt of a handler that asks for it. Needs the extra `otel`.

    bus.subscribe(TradeExecutedEvent, traced(on_fill))

The parent is whatever span the publisher was in: its context travels with the event anyway. Who does not wrap pays nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from eventbus.errors import MissingDriver
from eventbus.event import Event
from eventbus.road.context import inside
from eventbus.subscription import is_async, title_of

try:
    from opentelemetry.trace import SpanKind, Tracer, get_tracer
except ImportError as error:
    raise MissingDriver("tracing", "otel") from error

H = TypeVar("H", bound=Callable[..., Any])


def traced(handler: H, *, tracer: Tracer | None = None) -> H:
    """The handler, in a span "process <type>" of kind CONSUMER. What it raises marks the span as failed and is raised on.

    The span of a sync handler ends with its call: an awaitable that it returns is not part of it.
    """
    source = tracer or get_tracer("eventbus")

    def span(event: Event) -> Any:
        mark = inside()
        return source.start_as_current_span(
            f"process {event.type}",
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "eventbus",
                "messaging.operation.type": "process",
                "messaging.destination.name": event.type,
                "messaging.destination.subscription.name": title_of(handler) if mark is None else mark[0].worker.name,
                "messaging.message.id": event.event_id,
                "messaging.message.conversation_id": event.correlation_id,
            },
        )

    async def run(event: Event, *delivery: Any) -> Any:
        with span(event):
            return await handler(event, *delivery)

    def call(event: Event, *delivery: Any) -> Any:
        with span(event):
            return handler(event, *delivery)

    wrapper = run if is_async(handler) else call
    return functools.wraps(handler)(wrapper)  # type: ignore[return-value]
