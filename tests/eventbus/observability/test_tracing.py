from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from opentelemetry.trace import NonRecordingSpan, NoOpTracer, Span, SpanContext, get_current_span, use_span

from eventbus import Delivery, Event, InMemoryEventBus
from eventbus.observability.tracing import traced


class Recorder(NoOpTracer):
    """A tracer that keeps what was asked of it; span ids count up."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []

    @contextmanager
    def start_as_current_span(  # type: ignore[override] # only what `traced` gives is looked at
        self, name: str, **given: Any
    ) -> Iterator[Span]:
        parent = get_current_span().get_span_context().span_id
        record = {"name": name, "parent": parent, "error": None, **given}
        self.spans.append(record)
        with use_span(NonRecordingSpan(SpanContext(1, len(self.spans), is_remote=False))) as span:
            try:
                yield span
            except Exception as error:
                record["error"] = error
                raise


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


async def test_each_attempt_is_a_span_under_its_publisher(recorder: Recorder) -> None:
    bus = InMemoryEventBus()

    async def on_first(_event: Event) -> None:
        await bus.publish("trace.second", {})

    async def on_second(_event: Event, delivery: Delivery) -> None:
        assert delivery.attempt == 1

    bus.subscribe("trace.first", traced(on_first, tracer=recorder), name="one")
    bus.subscribe("trace.second", traced(on_second, tracer=recorder), name="two")
    async with bus:
        event = Event("trace.first")
        assert await bus.publish_and_wait(event) == []
        await bus.drain()
    first, second = recorder.spans
    assert (first["name"], second["name"]) == ("process trace.first", "process trace.second")
    assert (first["parent"], second["parent"]) == (0, 1)
    assert first["attributes"]["messaging.message.id"] == event.event_id
    assert second["attributes"]["messaging.message.conversation_id"] == event.event_id
    assert first["attributes"]["messaging.destination.subscription.name"] == "one"


async def test_failure_is_seen_by_the_span_and_by_the_bus(recorder: Recorder) -> None:
    def fail(_event: Event) -> None:
        raise ValueError("no")

    bus = InMemoryEventBus()
    bus.subscribe("trace.failed", traced(fail, tracer=recorder))
    async with bus:
        (error,) = await bus.publish_and_wait("trace.failed", {})
    assert recorder.spans[0]["error"] is error


async def test_publisher_variables_still_reach_a_traced_thread(recorder: Recorder) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="")
    seen: list[str] = []
    bus = InMemoryEventBus()
    bus.subscribe("trace.seen", traced(lambda _event: seen.append(tenant.get()), tracer=recorder))
    async with bus:
        tenant.set("acme")
        await bus.publish_and_wait("trace.seen", {})
    assert seen == ["acme"]
