"""Worker: one outcome for each delivery, whatever the handler, the predicate or the policy comes up with."""

from __future__ import annotations

import asyncio

import pytest

from eventbus import (
    Delivery,
    Event,
    HandlerCancelled,
    InMemoryEventBus,
    OnFailure,
    Reject,
    Retry,
    Status,
)
from eventbus.testing import Recorder, VirtualClock

pytestmark = pytest.mark.virtual_time


# --- refused ----------------------------------------------------------------------------------------------------------


async def test_reject_makes_a_dead_letter_without_another_attempt(event_bus: InMemoryEventBus) -> None:
    refuse = Recorder(lambda _event: _raise(Reject("unknown desk")))
    event_bus.subscribe("a.b", refuse, retry=Retry(attempts=5))
    (outcome,) = await (await event_bus.publish("a.b"))
    assert (outcome.status, outcome.attempts) == (Status.DEAD_LETTERED, 1)
    (letter,) = event_bus.dead_letters
    assert letter.reason == "rejected: unknown desk"


def _raise(error: BaseException) -> None:
    raise error


# --- what a handler is given ------------------------------------------------------------------------------------------------


async def test_handler_of_two_gets_the_delivery(event_bus: InMemoryEventBus, virtual_clock: VirtualClock) -> None:
    seen: list[tuple[str, int, float | None]] = []

    async def handler(event: Event, delivery: Delivery) -> None:
        assert delivery.event is event
        seen.append((delivery.subscription, delivery.attempt, delivery.deadline))
        if delivery.attempt == 1:
            raise OSError("once")

    event_bus.subscribe("a.b", handler, name="ledger", timeout=3.0, retry=Retry(attempts=2, delay=1, jitter=False))
    await (await event_bus.publish("a.b"))
    assert [(name, attempt) for name, attempt, _deadline in seen] == [("ledger", 1), ("ledger", 2)]
    assert [deadline for _name, _attempt, deadline in seen] == pytest.approx([3.0, 4.0])


async def test_optional_second_parameter_is_left_alone(event_bus: InMemoryEventBus) -> None:
    async def handler(event: Event, times: int = 2) -> int:
        return int(event["n"]) * times

    event_bus.subscribe("a.b", handler)
    (outcome,) = await (await event_bus.publish("a.b", {"n": 4}))
    assert outcome.result == 8


async def test_reply_is_the_result_unless_something_is_returned(event_bus: InMemoryEventBus) -> None:
    async def replies(_event: Event, delivery: Delivery) -> None:
        delivery.reply("reply")

    event_bus.subscribe("a.b", replies)
    (outcome,) = await (await event_bus.publish("a.b"))
    assert outcome.result == "reply"


# --- giving up ----------------------------------------------------------------------------------------------------------------


async def test_halt_on_failure_halts_the_bus(event_bus: InMemoryEventBus) -> None:
    event_bus.subscribe(
        "a.b", lambda _event: _raise(ValueError("book is off")), on_failure=OnFailure.HALT, name="ledger"
    )
    (outcome,) = await (await event_bus.publish("a.b"))
    assert outcome.status is Status.DEAD_LETTERED
    assert event_bus.is_halted
    assert "ledger" in str(event_bus.halt_reason)


async def test_cancelled_error_of_a_handler_may_be_retried(event_bus: InMemoryEventBus) -> None:
    calls = Recorder(lambda _event: _raise(asyncio.CancelledError()))
    event_bus.subscribe("a.b", calls, retry=Retry(attempts=3, delay=0.1))
    (outcome,) = await (await event_bus.publish("a.b"))
    assert isinstance(outcome.error, HandlerCancelled)
    assert len(calls) == 3
