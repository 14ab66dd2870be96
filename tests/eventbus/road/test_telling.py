"""Telling: the first failure of a kind in a minute is told whole, the others are counted and told when it ends."""

from __future__ import annotations

import logging

import pytest

from eventbus import Event, InMemoryEventBus, OnFailure
from eventbus.testing import VirtualClock

pytestmark = pytest.mark.virtual_time


async def fail(event: Event) -> None:
    raise KeyError(event["n"]) if event["n"] % 2 else OSError(event["n"])


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was told since the last time, by its first line."""
    lines = [record.getMessage().partition("\n")[0] for record in caplog.records if record.levelno == logging.ERROR]
    caplog.clear()
    return lines


async def test_the_first_of_a_kind_is_told_whole_and_the_rest_counted(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    event_bus.subscribe("telling.*", fail, name="ledger")
    for n in (0, 2, 4, 1, 6):
        await event_bus.publish_and_wait("telling.sent", {"n": n})
    first, other = told(caplog)
    assert "ledger could not handle telling.sent" in first
    assert "OSError" in first
    assert "KeyError" in other
    await virtual_clock.advance(60)
    (more,) = told(caplog)
    assert "ledger, and 3 more" in more
    await virtual_clock.advance(600)
    assert told(caplog) == []


async def test_the_next_minute_begins_anew(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    event_bus.subscribe("telling.*", fail)
    for _ in range(2):
        await event_bus.publish_and_wait("telling.sent", {"n": 0})
        assert len(told(caplog)) == 1
        await virtual_clock.advance(60)
        assert told(caplog) == []


async def test_each_subscription_is_told_for_itself(
    event_bus: InMemoryEventBus, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("one", "other"):
        event_bus.subscribe("telling.*", fail, name=name)
    await event_bus.publish_and_wait("telling.sent", {"n": 0})
    assert sorted(line.split()[2] for line in told(caplog)) == ["one", "other"]


async def test_what_is_dropped_is_not_called_a_dead_letter(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    event_bus.subscribe("telling.*", fail, on_failure=OnFailure.DROP)
    for n in (0, 2):
        await event_bus.publish_and_wait("telling.sent", {"n": n})
    (line,) = told(caplog)
    assert line.startswith("delivery dropped")
    await virtual_clock.advance(60)
    (more,) = told(caplog)
    assert more.startswith("delivery dropped")


async def test_kinds_without_end_are_told_together(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand kinds within a minute is an attack or a bug, not a thousand lines more."""

    async def fail_anew(event: Event) -> None:
        raise type(f"Error{event['n']}", (Exception,), {})

    event_bus.subscribe("telling.*", fail_anew)
    for n in range(1_050):
        event_bus.publish_nowait("telling.sent", {"n": n})
    await event_bus.drain()
    assert len(told(caplog)) == 1_001
    await virtual_clock.advance(60)
    (more,) = told(caplog)
    assert "49 more of others" in more
