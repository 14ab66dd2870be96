from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from eventbus import Event, InMemoryEventBus, PolicyConflict, Retry
from eventbus.observability import LogSink, configure_logging
from eventbus.observability.logging import LINE_CAP

Configure = Callable[..., LogSink]


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def configure(stream: io.StringIO) -> Iterator[Configure]:
    root = logging.getLogger()
    level = root.level
    yield lambda *args, **kwargs: configure_logging(*args, **{"stream": stream, **kwargs})
    for handler in [handler for handler in root.handlers if isinstance(handler, LogSink)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    structlog.reset_defaults()


def lines(sink: LogSink, stream: io.StringIO) -> list[str]:
    sink.flush()
    return stream.getvalue().splitlines()


def records(sink: LogSink, stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(sink, stream)]


async def test_lines_of_the_bus_carry_their_fields(configure: Configure, stream: io.StringIO) -> None:
    sink = configure("json")

    async def fail(_event: Event) -> None:
        raise ValueError("no")

    bus = InMemoryEventBus()
    bus.subscribe("log.failed", fail, name="picky", retry=Retry(attempts=2, delay=0.0))
    async with bus:
        await bus.publish("log.failed", {})
        await bus.drain()
    retried, dead = [line for line in records(sink, stream) if line["logger"] == "eventbus"]
    assert (retried["message"], retried["type"], retried["attempt"]) == ("delivery retried", "log.failed", 1)
    assert dead["message"].startswith("delivery dead-lettered: picky could not handle log.failed")
    assert (dead["level"], dead["subscription"], dead["type"]) == ("error", "picky", "log.failed")
    assert isinstance(retried["delay_s"], float)


async def test_what_a_handler_logs_names_its_delivery(configure: Configure, stream: io.StringIO) -> None:
    sink = configure("json")
    published: list[Event] = []

    async def from_structlog(_event: Event) -> None:
        structlog.get_logger("desk").info("seen")

    def from_a_thread(_event: Event) -> None:
        logging.getLogger("desk").info("seen", extra={"type": "its own"})

    bus = InMemoryEventBus()
    bus.subscribe("log.seen", from_structlog, name="async")
    bus.subscribe("log.seen", from_a_thread, name="sync")
    async with bus:
        published.append((await bus.publish("log.seen", {})).burst.events[0])
        await bus.drain()
        structlog.get_logger("desk").info("outside")
    one, two, outside = [line for line in records(sink, stream) if line["logger"] == "desk"]
    (event,) = published
    assert {one["subscription"], two["subscription"]} == {"async", "sync"}
    assert {one["type"], two["type"]} == {"log.seen", "its own"}
    assert one["correlation_id"] == two["correlation_id"] == event.correlation_id
    assert one["event_id"] == event.event_id
    assert "correlation_id" not in outside


def test_level_is_a_threshold(configure: Configure, stream: io.StringIO) -> None:
    sink = configure("json", "warning")
    for name in ("info", "warning"):
        getattr(structlog.get_logger("desk"), name)(name)
        getattr(logging.getLogger("desk"), name)(name)
    assert [line["message"] for line in records(sink, stream)] == ["warning", "warning"]


@pytest.mark.parametrize("format", ["json", "console"])
def test_control_characters_cannot_act(configure: Configure, stream: io.StringIO, format: str) -> None:
    sink = configure(format)
    evil = "x\x1b[2J\r\n\x9b1m2026 forged line \u202egnp.exe\u2028next\x00\x07"
    structlog.get_logger("desk").info(evil, field=evil, nested={evil: [evil]}, **{evil: 1})
    logging.getLogger("desk").warning("%s", evil)
    found = lines(sink, stream)
    assert len(found) == 2
    assert [line for line in found if not line.isprintable()] == []


def test_traceback_cannot_forge_a_line(configure: Configure, stream: io.StringIO) -> None:
    sink = configure("console")
    try:
        raise ValueError("bad\n2026-01-01 forged\x1b[2J")
    except ValueError:
        structlog.get_logger("desk").exception("failed")
    head, *trace = lines(sink, stream)
    assert "failed" in head
    assert trace
    assert [line for line in trace if not line.startswith("  | ") or not line.isprintable()] == []


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize(
    "fields",
    [
        {"big": "b" * 1_000_000},
        {"wide": "ü😀" * 10_000},
        {f"f{n}": "x" * 60 for n in range(500)},
        {"deep": {"a": {"b": {"c": {"d": {"e": ["f"] * 1000}}}}}},
        {"many": list(range(100_000))},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_line_is_cut_to_its_cap(configure: Configure, stream: io.StringIO, format: str, fields: dict[str, Any]) -> None:
    sink = configure(format)
    structlog.get_logger("desk").info("m" * 10, **fields)
    (line,) = lines(sink, stream)
    assert len(line.encode()) <= LINE_CAP
    assert "mmmmmmmmmm" in line
    assert "desk" in line
    if format == "json":
        assert json.loads(line)["level"] == "info"


def test_cut_traceback_keeps_its_last_line(configure: Configure, stream: io.StringIO) -> None:
    sink = configure("json")
    try:
        raise ValueError("first " + "x" * 10_000 + " last")
    except ValueError:
        structlog.get_logger("desk").exception("failed")
    (record,) = records(sink, stream)
    assert record["exception"].endswith(" last")


@pytest.mark.parametrize("format", ["json", "console"])
def test_secrets_are_blotted_out(configure: Configure, stream: io.StringIO, format: str) -> None:
    sink = configure(format, secrets=["hunter2"])
    leaks = {
        "password": "p4ssw0rd",
        "nested": {"api_key": "k3y", "list": [{"token": "t0ken"}]},
        "url": "postgresql://joe:swordfish@host/db",
        "header": "Authorization: Bearer abcdef123456",
        "hook": "https://discord.com/api/webhooks/123/s3cr3t-part",
        "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        "query": "/ws?token=qu3ry&x=1",
        "text": "it is hunter2, really",
    }
    structlog.get_logger("desk").info("login of hunter2", **leaks)
    logging.getLogger("desk").info("with hunter2 %s", "Bearer abcdef123456", extra=leaks)
    try:
        raise ValueError("redis://:sesame@host and hunter2")
    except ValueError:
        logging.getLogger("desk").exception("failed")
    text = "\n".join(lines(sink, stream))
    words = "p4ssw0rd k3y t0ken swordfish abcdef123456 s3cr3t c2ln qu3ry hunter2 sesame"
    assert [word for word in words.split() if word in text] == []
    assert "host/db" in text


def test_value_that_cannot_be_printed_costs_no_line(configure: Configure, stream: io.StringIO) -> None:
    class Broken:
        def __str__(self) -> str:
            raise KeyError

    sink = configure("json")
    structlog.get_logger("desk").info("seen", broken=Broken(), nan=float("nan"))
    (record,) = records(sink, stream)
    assert record["broken"] == "<its str() raised KeyError>"
    assert record["nan"] == "nan"


def test_broken_sink_is_counted_and_raises_nothing(configure: Configure) -> None:
    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError("no space left on device")

    sink = configure("json", stream=Full())
    logging.getLogger("desk").info("one")
    sink.handle(logging.LogRecord("desk", logging.INFO, __file__, 1, "two %d", ("not a number",), None))
    sink.flush()
    assert sink.errors == 2


async def test_slow_sink_delays_no_delivery(configure: Configure) -> None:
    gate, handled = threading.Event(), []

    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            gate.wait()
            return len(text)

    sink = configure("json", stream=Slow())

    async def log(event: Event) -> None:
        structlog.get_logger("desk").info("seen")
        handled.append(event)

    bus = InMemoryEventBus(max_queue_size=20_000)
    bus.subscribe("log.seen", log)
    async with bus:
        for _ in range(10_100):
            await bus.publish("log.seen", {})
        await bus.drain()
    gate.set()
    assert len(handled) == 10_100
    assert sink.dropped > 0


def test_configuring_again_replaces_the_sink(configure: Configure, stream: io.StringIO) -> None:
    first, second = configure("json"), configure("json")
    logging.getLogger("desk").info("once")
    assert len(lines(second, stream)) == 1
    assert first not in logging.getLogger().handlers


@pytest.mark.parametrize(("arguments", "name"), [(("xml",), "format"), (("json", "loud"), "level")])
def test_unknown_setting_is_named(configure: Configure, arguments: tuple[str, ...], name: str) -> None:
    with pytest.raises(PolicyConflict, match=f"{name}: .* use "):
        configure(*arguments)
