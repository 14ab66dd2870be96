"""R3: a failed delivery is told so that its reader can act: which handler, which event, which error, which line of theirs."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import structlog

from eventbus import DeadLetter, Event, InMemoryEventBus, OnFailure, Retry
from eventbus.observability import LogSink, configure_logging

pytestmark = pytest.mark.virtual_time

Letters = Callable[[Any], Awaitable[list[DeadLetter]]]


class OrderPlaced(Event, type="found.told.order"):
    n: int = 0


def price_of(_event: Event) -> None:
    raise ValueError("no price for AAPL")


async def pricing(event: Event) -> None:
    price_of(event)


def pricing_in_a_thread(event: Event) -> None:
    price_of(event)


async def looking_up(event: Event) -> None:
    event["nothing"]  # raises in a line of the package


PRICE_LINE = price_of.__code__.co_firstlineno + 1
LOOK_UP_LINE = looking_up.__code__.co_firstlineno + 1


def places(line: int) -> tuple[str, str]:
    """Both ways to write where it happened."""
    return f"{__file__}:{line}", f'File "{__file__}", line {line}'


def tells(text: str, line: int) -> bool:
    return any(place in text for place in places(line))


def told(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the bus said about its deliveries."""
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


def is_whole(record: logging.LogRecord) -> bool:
    return "Traceback (most recent call last)" in logging.Formatter().format(record)


async def fail(bus: InMemoryEventBus, times: int = 1) -> list[str]:
    """Publish so many events and let them be handled; returns their ids."""
    receipts = [await bus.publish(OrderPlaced(n=n)) for n in range(times)]
    await bus.drain()
    return [receipt.event_id for receipt in receipts]


# --- the line --------------------------------------------------------------------------------------------------------

HANDLERS = [(pricing, PRICE_LINE), (pricing_in_a_thread, PRICE_LINE), (looking_up, LOOK_UP_LINE)]


@pytest.mark.parametrize(("handler", "line"), HANDLERS)
@pytest.mark.parametrize("policy", [{}, {"timeout": 60}, {"on_failure": OnFailure.DROP}], ids=str)
async def test_the_message_alone_says_who_what_and_where(
    event_bus: InMemoryEventBus,
    caplog: pytest.LogCaptureFixture,
    handler: Callable[[Event], Any],
    line: int,
    policy: dict[str, Any],
) -> None:
    event_bus.subscribe(OrderPlaced, handler, name="pricing-desk", **policy)
    (event_id,) = await fail(event_bus)
    (record,) = told(caplog)
    message = record.getMessage()
    assert "pricing-desk" in message
    assert "found.told.order" in message
    assert event_id in message
    assert "KeyError" in message or "ValueError: no price for AAPL" in message
    assert tells(message, line)


async def test_the_first_failure_has_its_traceback(
    event_bus: InMemoryEventBus, caplog: pytest.LogCaptureFixture
) -> None:
    event_bus.subscribe(OrderPlaced, pricing)
    await fail(event_bus)
    assert "Traceback (most recent call last)" in caplog.text
    assert f'File "{__file__}", line {PRICE_LINE}, in price_of' in caplog.text


async def test_attempts_that_are_retried_are_not_told_as_failures_only_the_end_is(
    event_bus: InMemoryEventBus, caplog: pytest.LogCaptureFixture
) -> None:
    event_bus.subscribe(OrderPlaced, pricing, retry=Retry(attempts=3))
    await fail(event_bus)
    (record,) = told(caplog)
    assert "ValueError: no price for AAPL" in record.getMessage()


async def test_a_standard_handler_with_a_plain_format_shows_it_all(event_bus: InMemoryEventBus) -> None:
    """As `logging.basicConfig()` sets it up: nothing reads the extra fields of a record."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s:%(name)s:%(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        event_bus.subscribe(OrderPlaced, pricing, name="pricing-desk")
        (event_id,) = await fail(event_bus)
    finally:
        root.removeHandler(handler)
    first = stream.getvalue().splitlines()[0]
    for part in ("pricing-desk", "found.told.order", event_id, "ValueError: no price for AAPL"):
        assert part in first
    assert f'File "{__file__}", line {PRICE_LINE}, in price_of' in stream.getvalue()


# --- how often -------------------------------------------------------------------------------------------------------


async def test_those_that_follow_within_a_minute_are_counted_and_told_when_it_ends(
    event_bus: InMemoryEventBus, caplog: pytest.LogCaptureFixture
) -> None:
    event_bus.subscribe(OrderPlaced, pricing, name="pricing-desk")
    await fail(event_bus, 40)
    assert len(told(caplog)) == 1
    await asyncio.sleep(61)
    first, rest = told(caplog)
    assert "39 more" in rest.getMessage()
    assert "pricing-desk" in rest.getMessage()
    assert "ValueError" in rest.getMessage()
    assert (is_whole(first), is_whole(rest)) == (True, False)


async def test_those_that_follow_are_told_when_the_bus_ends(
    idle_bus: InMemoryEventBus, caplog: pytest.LogCaptureFixture
) -> None:
    idle_bus.subscribe(OrderPlaced, pricing)
    async with idle_bus:
        await fail(idle_bus, 40)
    assert ["39 more" in record.getMessage() for record in told(caplog)] == [False, True]


async def test_the_next_minute_begins_with_a_whole_one_again(
    event_bus: InMemoryEventBus, caplog: pytest.LogCaptureFixture
) -> None:
    event_bus.subscribe(OrderPlaced, pricing)
    for _minute in range(3):
        await fail(event_bus)
        await asyncio.sleep(61)
    assert [is_whole(record) for record in told(caplog)] == [True, True, True]


async def test_another_type_of_error_is_told_whole(
    event_bus: InMemoryEventBus, caplog: pytest.LogCaptureFixture
) -> None:
    errors = [ValueError("one"), OSError("two"), ValueError("three"), LookupError("four")]

    async def handler(event: OrderPlaced) -> None:
        raise errors[event.n]

    event_bus.subscribe(OrderPlaced, handler)
    await fail(event_bus, 4)
    whole = [record.getMessage() for record in told(caplog) if is_whole(record)]
    assert len(whole) == len(told(caplog)) == 3
    assert all(
        text in message for text, message in zip(["Error: one", "Error: two", "Error: four"], whole, strict=True)
    )


async def test_another_subscription_is_told_whole(
    event_bus: InMemoryEventBus, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("one", "two"):
        event_bus.subscribe(OrderPlaced, pricing, name=f"desk-{name}")
    await fail(event_bus, 5)
    assert [("desk-one" in r.getMessage(), "desk-two" in r.getMessage(), is_whole(r)) for r in told(caplog)] == [
        (True, False, True),
        (False, True, True),
    ]


# --- our own logging -------------------------------------------------------------------------------------------------


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def configured(stream: io.StringIO) -> Iterator[Callable[[Any], LogSink]]:
    """`configure_logging` to `stream`; the root logger is as it was afterwards."""
    root = logging.getLogger()
    before = (root.level, [*root.handlers])
    yield lambda format: configure_logging(format, stream=stream)
    for handler in [handler for handler in root.handlers if handler not in before[1]]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(before[0])
    structlog.reset_defaults()


async def test_our_json_names_the_place_of_the_user(
    event_bus: InMemoryEventBus, stream: io.StringIO, configured: Callable[[Any], LogSink]
) -> None:
    sink = configured("json")
    event_bus.subscribe(OrderPlaced, looking_up, name="pricing-desk")
    (event_id,) = await fail(event_bus)
    sink.flush()
    line = json.loads(stream.getvalue().splitlines()[0])
    for part in ("pricing-desk", "found.told.order", event_id, "KeyError"):
        assert part in line["message"]
    assert tells(line["message"], LOOK_UP_LINE)
    assert tells(line["exception"], LOOK_UP_LINE)


async def test_our_console_names_the_place_of_the_user(
    event_bus: InMemoryEventBus, stream: io.StringIO, configured: Callable[[Any], LogSink]
) -> None:
    sink = configured("console")
    event_bus.subscribe(OrderPlaced, looking_up, name="pricing-desk")
    (event_id,) = await fail(event_bus)
    sink.flush()
    first = stream.getvalue().splitlines()[0]
    for part in ("pricing-desk", "found.told.order", event_id, "KeyError"):
        assert part in first
    assert tells(first, LOOK_UP_LINE)


# --- dead letters ----------------------------------------------------------------------------------------------------


async def letter_of(bus: InMemoryEventBus, letters_of: Letters) -> DeadLetter:
    await fail(bus)
    (letter,) = await letters_of(bus)
    return letter


@pytest.mark.parametrize(("handler", "line"), HANDLERS)
async def test_a_dead_letter_keeps_the_formatted_traceback(
    event_bus: InMemoryEventBus, letters_of: Letters, handler: Callable[[Event], Any], line: int
) -> None:
    event_bus.subscribe(OrderPlaced, handler)
    text = (await letter_of(event_bus, letters_of)).error
    assert "Traceback (most recent call last)" in text
    assert f'File "{__file__}", line {line}' in text


async def test_a_dead_letter_keeps_the_cause_of_the_error(event_bus: InMemoryEventBus, letters_of: Letters) -> None:
    async def handler(event: Event) -> None:
        try:
            price_of(event)
        except ValueError as error:
            raise RuntimeError("cannot size the order") from error

    event_bus.subscribe(OrderPlaced, handler)
    text = (await letter_of(event_bus, letters_of)).error
    assert "ValueError: no price for AAPL" in text
    assert "RuntimeError: cannot size the order" in text


async def test_the_traceback_of_a_dead_letter_is_capped_and_keeps_both_ends(
    event_bus: InMemoryEventBus, letters_of: Letters
) -> None:
    def dig(depth: int) -> None:
        if depth == 0:
            raise ValueError("at the bottom" + "!" * 100_000)
        dig_on(depth - 1)

    def dig_on(depth: int) -> None:  # two functions by turns: Python folds what repeats itself
        dig(depth)

    async def handler(_event: Event) -> None:
        dig(200)

    event_bus.subscribe(OrderPlaced, handler)
    text = (await letter_of(event_bus, letters_of)).error
    assert len(text) <= 8 * 1024
    assert "Traceback (most recent call last)" in text
    assert "ValueError: at the bottom" in text
