"""Latch: once set, EXECUTION is refused until the token that it gave clears it; the first reason stands."""

from __future__ import annotations

import pytest

from eventbus import Event, Halted, InMemoryEventBus, Kind, PolicyConflict


class Ordered(Event, type="latch.ordered", kind=Kind.EXECUTION):
    pass


async def test_only_execution_is_refused_and_only_until_it_is_cleared(event_bus: InMemoryEventBus) -> None:
    assert (event_bus.is_halted, event_bus.halt_reason) == (False, None)
    await event_bus.publish(Ordered())
    token = event_bus.halt("the book is off")
    assert (event_bus.is_halted, event_bus.halt_reason) == (True, "the book is off")
    with pytest.raises(Halted, match="the book is off"):
        await event_bus.publish(Ordered())
    await event_bus.publish("latch.other")
    await event_bus.rearm(token)
    assert (event_bus.is_halted, event_bus.halt_reason) == (False, None)
    await event_bus.publish(Ordered())
    assert event_bus.get_stats()["published"] == 3


async def test_the_first_reason_and_the_first_token_stand(event_bus: InMemoryEventBus) -> None:
    token = event_bus.halt("first")
    assert event_bus.halt("second") == token
    assert event_bus.halt_reason == "first"


async def test_another_token_clears_nothing(event_bus: InMemoryEventBus) -> None:
    old = event_bus.halt("first")
    await event_bus.rearm(old)
    event_bus.halt("second")
    with pytest.raises(PolicyConflict, match="token"):
        await event_bus.rearm(old)
    assert event_bus.is_halted


async def test_clearing_what_is_not_set_is_no_error(event_bus: InMemoryEventBus) -> None:
    await event_bus.rearm("whatever")


async def test_what_was_published_in_a_row_before_lets_nothing_in_after(event_bus: InMemoryEventBus) -> None:
    """Events published in a row join each other without a look; a halt is seen all the same."""
    event_bus.publish_nowait(Ordered())
    event_bus.halt("now")
    with pytest.raises(Halted):
        event_bus.publish_nowait(Ordered())
