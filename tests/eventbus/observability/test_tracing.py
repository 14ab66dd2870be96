"""Tracing: a producer span at each publish, a consumer span around each attempt, and what binds them: a parent, or a link."""

from __future__ import annotations

import asyncio
import functools
import itertools
import subprocess
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider, SpanKind, StatusCode

from eventbus import BusStopped, Delivery, Event, EventBus, InMemoryEventBus, Request, Retry, create_event_bus
from eventbus.durability.shared import Shared
from eventbus.gateway import GatewaySettings
from eventbus.interface import EventBus as Promised
from eventbus.observability.tracing import consuming, context_of, traced, traced_bus
from eventbus.testing import SharedMemoryJournal, SharedMemoryLog, VirtualLoop
from eventbus.testing.gateway import PATIENCE_S, serve_here


class Spans:
    """What was traced."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def all(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


@pytest.fixture
def spans() -> Spans:
    return Spans()


def is_child(span: ReadableSpan, of: ReadableSpan) -> bool:
    return span.parent is not None and span.parent.span_id == of.context.span_id


def is_linked(span: ReadableSpan, to: ReadableSpan) -> bool:
    return [(link.context.trace_id, link.context.span_id) for link in span.links] == [
        (to.context.trace_id, to.context.span_id)
    ]


async def fine(_event: Event) -> None: ...


# --- one process ------------------------------------------------------------------------------------------------------


async def test_a_cascade_is_one_trace_of_publishes_and_attempts(spans: Spans) -> None:
    bus = traced_bus(InMemoryEventBus(), spans.provider)

    async def on_first(_event: Event) -> None:
        await bus.publish("trace.second", {})

    def on_second(_event: Event, delivery: Delivery) -> None:
        assert delivery.attempt == 1

    bus.subscribe("trace.first", on_first, name="one")
    bus.subscribe("trace.second", on_second)
    async with bus:
        event = Event("trace.first")
        await bus.publish(event)
        await bus.drain()
    names = ["publish trace.first", "process trace.first", "publish trace.second", "process trace.second"]
    walk = [spans.one(name) for name in names]
    assert walk[0].parent is None
    assert all(is_child(after, before) for before, after in itertools.pairwise(walk))
    assert [span.kind for span in walk] == [SpanKind.PRODUCER, SpanKind.CONSUMER] * 2
    assert walk[1].attributes == {
        "messaging.system": "eventbus",
        "messaging.operation.type": "process",
        "messaging.destination.name": "trace.first",
        "messaging.destination.subscription.name": "one",
        "messaging.message.id": event.event_id,
        "messaging.message.conversation_id": event.event_id,
    }
    assert str((walk[3].attributes or {})["messaging.destination.subscription.name"]).endswith("on_second")
    assert not any(span.links for span in walk)


async def test_each_attempt_has_its_span_and_what_it_raises_marks_it(spans: Spans) -> None:
    bus = traced_bus(InMemoryEventBus(), spans.provider)
    left = [ValueError("no"), ValueError("no")]

    @bus.on("trace.failed", retry=Retry(attempts=3, delay=0.0))
    async def fail(_event: Event) -> None:
        if left:
            raise left.pop()

    async with bus:
        assert await bus.publish_and_wait("trace.failed", {}) == []
    attempts = spans.named("process trace.failed")
    assert [span.status.status_code for span in attempts] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    assert [event.name for event in attempts[0].events] == ["exception"]
    assert all(is_child(span, spans.one("publish trace.failed")) for span in attempts)


@pytest.mark.parametrize("how", ["publish", "publish_nowait", "publish_threadsafe", "publish_many", "publish_and_wait"])
async def test_every_way_to_publish_is_a_producer_and_the_event_carries_it(spans: Spans, how: str) -> None:
    bus = traced_bus(InMemoryEventBus(), spans.provider)
    seen: list[Event] = []
    bus.subscribe("trace.sent", seen.append)
    async with bus:
        match how:
            case "publish_nowait":
                bus.publish_nowait("trace.sent", {})
            case "publish_threadsafe":
                thread = threading.Thread(target=lambda: bus.publish_threadsafe("trace.sent", {}))
                thread.start()
                await bus.expect("trace.sent", timeout=60)
                thread.join()
            case "publish_many":
                await bus.publish_many([Event("trace.sent"), Event("trace.sent")])
            case other:
                await getattr(bus, other)("trace.sent", {})
        await bus.drain()
    sent = spans.one("publish trace.sent")
    assert (sent.attributes or {})["messaging.operation.name"] == how
    assert len(seen) == (2 if how == "publish_many" else 1)
    for event in seen:
        carried = context_of(event)
        assert carried is not None
        assert (carried.trace_id, carried.span_id) == (sent.context.trace_id, sent.context.span_id)
        assert event.metadata["traceparent"].startswith(f"00-{sent.context.trace_id:032x}-{sent.context.span_id:016x}-")
    assert all(is_child(span, sent) for span in spans.named("process trace.sent"))


async def test_a_request_spans_its_answer(spans: Spans) -> None:
    class Ask(Request[int], type="trace.ask"):
        """How many?"""

    bus = traced_bus(InMemoryEventBus(), spans.provider)

    async def answer(_ask: Ask) -> int:
        return 7

    bus.subscribe(Ask, answer)
    async with bus:
        assert await bus.request(Ask()) == 7
    asked, answered = spans.one("publish trace.ask"), spans.one("process trace.ask")
    assert is_child(answered, asked)
    assert (asked.end_time or 0) >= (answered.end_time or 0)


async def test_a_publish_that_is_refused_is_marked(spans: Spans) -> None:
    bus = traced_bus(InMemoryEventBus(), spans.provider)
    async with bus:
        pass
    with pytest.raises(BusStopped):
        await bus.publish("trace.late", {})
    assert spans.one("publish trace.late").status.status_code is StatusCode.ERROR


async def test_an_event_that_carries_a_trace_keeps_it_and_is_linked(spans: Spans) -> None:
    bus = traced_bus(InMemoryEventBus(), spans.provider)
    bus.subscribe("trace.forwarded", fine)
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    event = Event("trace.forwarded", metadata={"traceparent": f"00-{trace}-{span}-01", "tracestate": "v=1"})
    async with bus:
        await bus.publish(event)
        await bus.drain()
    assert event.metadata == {"traceparent": f"00-{trace}-{span}-01", "tracestate": "v=1"}
    for name in ("publish trace.forwarded", "process trace.forwarded"):
        (link,) = spans.one(name).links
        assert (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") == (trace, span)


@pytest.mark.parametrize("text", ["", "garbage", "00-0-0-01", "ff-" + "0" * 32 + "-" + "0" * 16 + "-00", 7, None])
async def test_what_is_no_traceparent_is_no_link(spans: Spans, text: Any) -> None:
    bus = traced_bus(InMemoryEventBus(), spans.provider)
    bus.subscribe("trace.odd", fine)
    async with bus:
        await bus.publish(Event("trace.odd", metadata={"traceparent": text}))
        await bus.drain()
    assert not spans.one("process trace.odd").links


async def test_publisher_variables_still_reach_a_traced_thread(spans: Spans) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="")
    seen: list[str] = []
    bus = traced_bus(InMemoryEventBus(), spans.provider)
    bus.subscribe("trace.seen", lambda _event: seen.append(tenant.get()))
    async with bus:
        tenant.set("acme")
        await bus.publish_and_wait("trace.seen", {})
    assert seen == ["acme"]


async def test_one_handler_may_be_traced_alone(spans: Spans) -> None:
    bus = InMemoryEventBus()
    bus.subscribe("trace.alone", traced(fine, tracer=spans.provider.get_tracer("mine")), name="one")
    async with bus:
        await bus.publish_and_wait("trace.alone", {})
    assert [span.name for span in spans.all()] == ["process trace.alone"]


async def test_a_stream_makes_its_spans_itself(spans: Spans) -> None:
    bus = traced_bus(InMemoryEventBus(), spans.provider)
    async with bus, bus.stream("trace.streamed") as stream:
        await bus.publish("trace.streamed", {})
        async for event in stream:
            with consuming(event, tracer=spans.provider.get_tracer("mine")):
                break
    assert is_linked(spans.one("process trace.streamed"), spans.one("publish trace.streamed"))


# --- what is traced is the same bus ---------------------------------------------------------------------------------


def test_everything_that_a_bus_promises_is_there(spans: Spans, tmp_path: Path) -> None:
    bus = create_event_bus(f"sqlite:///{tmp_path / 'run.db'}")
    wrapped = traced_bus(bus, spans.provider)
    assert wrapped is not bus
    promised = [name for name in dir(Promised) if not name.startswith("_")] + ["name", "capabilities"]
    assert len(promised) > 35
    for name in promised:
        assert hasattr(wrapped, name), name
    assert (wrapped.name, wrapped.capabilities) == (bus.name, bus.capabilities)


@pytest.mark.parametrize("kind", ["function", "method", "partial", "object"])
async def test_a_handler_is_known_by_what_it_was_subscribed_as(spans: Spans, kind: str) -> None:
    class Desk:
        async def on_event(self, _event: Event) -> None: ...

        async def __call__(self, _event: Event) -> None: ...

    handlers: dict[str, Callable[[Event], Any]] = {
        "function": fine,
        "method": Desk().on_event,
        "partial": functools.partial(fine),
        "object": Desk(),
    }
    plain, bus = InMemoryEventBus(), traced_bus(InMemoryEventBus(), spans.provider)
    assert bus.subscribe("a.b", handlers[kind]).name == plain.subscribe("a.b", handlers[kind]).name
    assert bus.get_handler_count("a.b") == 1
    assert not bus.unsubscribe("a.c", handlers[kind])
    assert bus.unsubscribe("a.b", handlers[kind])
    assert bus.get_handler_count("a.b") == 0


def test_a_bus_that_nobody_traces_is_the_bus_itself(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    bus: EventBus = InMemoryEventBus()
    assert traced_bus(bus) is bus, "no provider is set up in this process"
    assert traced_bus(bus, NoOpTracerProvider()) is bus
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert traced_bus(bus, TracerProvider()) is bus


def test_nobody_imports_it_who_does_not_trace() -> None:
    program = (
        "import sys, eventbus, eventbus.observability, eventbus.cli, quantum_trader.cli; "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- across journals, processes and the gateway ---------------------------------------------------------------------


async def test_what_is_read_back_after_a_restart_is_linked_to_who_published_it(spans: Spans, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'run.db'}"
    first = traced_bus(create_event_bus(url), spans.provider)
    async with first:
        await first.publish("trace.kept", {})
    again = traced_bus(create_event_bus(url), spans.provider)
    again.subscribe("trace.kept", fine, group="ledger", start="beginning")
    async with again:
        await again.drain()
        assert await again.replay_to(fine, types="trace.*") == 1
    sent = spans.one("publish trace.kept")
    read_back = spans.named("process trace.kept")
    assert len(read_back) == 2, "by the group, and by the replay"
    for span in read_back:
        assert span.parent is None
        assert span.context.trace_id != sent.context.trace_id
        assert is_linked(span, sent)


@pytest.mark.virtual_time
async def test_what_comes_from_another_process_is_linked_to_who_published_it(spans: Spans) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    log = SharedMemoryLog(loop.clock)

    def process() -> EventBus:
        bus = InMemoryEventBus(store=Shared(SharedMemoryJournal(log, latency=0.001)), clock=loop.clock)
        return traced_bus(bus, spans.provider)

    here, there = process(), process()
    there.subscribe("trace.sent", fine, name="there")
    async with here, there:
        await here.publish("trace.sent", {})
        await asyncio.sleep(2)
    span, sent = spans.one("process trace.sent"), spans.one("publish trace.sent")
    assert span.parent is None
    assert is_linked(span, sent)


@pytest.mark.server
async def test_what_comes_over_a_server_is_linked_to_who_published_it(spans: Spans, postgres_url: str) -> None:
    here, there = (traced_bus(create_event_bus(postgres_url), spans.provider) for _ in range(2))
    async with here, there:
        await there.subscribe("trace.sent", fine, name="ledger", group="ledger")
        heard = there.expect("trace.sent", timeout=60)
        await here.publish("trace.sent", {})
        await heard
        await there.drain()
    span, sent = spans.one("process trace.sent"), spans.one("publish trace.sent")
    assert span.parent is None
    assert is_linked(span, sent)


async def test_a_trace_goes_through_the_gateway_and_on_to_who_listens_there(spans: Spans) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    given = {"traceparent": f"00-{trace}-{parent}-01", "tracestate": "desk=1"}
    bus = traced_bus(InMemoryEventBus(), spans.provider)
    bus.subscribe("trace.asked", fine)
    served = await serve_here(bus, settings=GatewaySettings(port=0, allow_adhoc=True))
    async with (
        httpx.AsyncClient(base_url=f"{served.url}/api/v1", verify=False, timeout=PATIENCE_S) as http,
        served.connect() as peer,
    ):
        await peer.subscribe("trace.*")
        body = {"type": "trace.asked", "payload": {}}
        assert (await http.post("/events", json=body, headers=given)).is_success
        assert (await http.post("/events", json=body, headers={"traceparent": "garbage"})).is_success
        await peer.until("event")
        await peer.until("event")
    await served.stop()
    first, second = peer.events
    assert first["payload"]["metadata"] == given
    (link,) = spans.named("publish trace.asked")[0].links
    assert (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") == (trace, parent)
    assert is_child(spans.named("process trace.asked")[0], spans.named("publish trace.asked")[0])
    sent = spans.named("publish trace.asked")[1]
    assert second["payload"]["metadata"]["traceparent"].startswith(
        f"00-{sent.context.trace_id:032x}-{sent.context.span_id:016x}-"
    )
