"""What takes longer than it has to when there is much of it: explaining a large family, cancelling with a long backlog.

Work is counted in lines of Python that run, not in seconds: the count is the same on every machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus
from eventbus.testing import Recorder, settle

FEW, MANY = 300, 1_500
FAIR = 1.5 * MANY / FEW  # what a linear cost may come to; a quadratic one is at MANY / FEW times that


class Lines:
    """How many lines ran."""

    def __init__(self) -> None:
        self.count = 0

    def trace(self, _frame: FrameType, kind: str, _argument: object) -> Any:
        if kind == "line":
            self.count += 1
        return self.trace


@contextlib.contextmanager
def counted() -> Iterator[Lines]:
    lines, before = Lines(), sys.gettrace()
    sys.settrace(lines.trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


async def explained(bus: Any, event_id: str) -> Any:
    """What `bus.explain` gives, whether or not it has to be awaited."""
    explanation = bus.explain(event_id)
    return await explanation if inspect.isawaitable(explanation) else explanation


def chain(size: int) -> list[Event]:
    """Each the cause of the next."""
    events = [Event("grow.link")]
    while len(events) < size:
        events.append(Event("grow.link", causation_id=events[-1].event_id, correlation_id=events[0].event_id))
    return events


def star(size: int) -> list[Event]:
    """One the cause of all others."""
    root = Event("grow.root")
    leaves = [Event("grow.leaf", causation_id=root.event_id, correlation_id=root.event_id) for _ in range(size - 1)]
    return [root, *leaves]


async def lines_to(look: Callable[[Any, list[Event]], Any], family: list[Event]) -> int:
    """How many lines it takes to look at a family that went through a bus."""
    bus = InMemoryEventBus(history=2 * MANY)
    async with bus:
        await bus.publish_many(family)
        assert await bus.drain(timeout=60)
        return int(await look(bus, family))


async def explain_first(bus: Any, family: list[Event]) -> int:
    with counted() as lines:
        explanation = await explained(bus, family[0].event_id)
    assert len(explanation.descendants) == len(family) - 1
    return lines.count


async def explain_last(bus: Any, family: list[Event]) -> int:
    with counted() as lines:
        explanation = await explained(bus, family[-1].event_id)
    assert explanation.root.event_id == family[0].event_id
    return lines.count


async def print_all(bus: Any, family: list[Event]) -> int:
    explanation = await explained(bus, family[0].event_id)
    with counted() as lines:
        text = str(explanation)
    assert len(text.splitlines()) == len(family)
    return lines.count


async def tell_ages(bus: Any, family: list[Event]) -> int:
    explanation = await explained(bus, family[0].event_id)
    with counted() as lines:
        ages = [explanation.after_cause_s(event) for event in family]
    assert ages.count(None) == 1
    return lines.count


@pytest.mark.parametrize(
    ("look", "family"),
    [
        (explain_first, star),
        (explain_first, chain),
        (explain_last, star),
        (explain_last, chain),
        (print_all, star),
        (print_all, chain),
        (tell_ages, star),
        (tell_ages, chain),
    ],
)
async def test_looking_at_a_family_costs_as_much_as_it_is_large(
    look: Callable[[Any, list[Event]], Any], family: Callable[[int], list[Event]]
) -> None:
    few, many = await lines_to(look, family(FEW)), await lines_to(look, family(MANY))
    assert many <= FAIR * few


@pytest.mark.parametrize("watched", [False, True], ids=["unwatched", "receipts-kept"])
async def test_cancelling_with_a_long_backlog_leaves_the_loop_its_turns(watched: bool) -> None:
    backlog, longest = 20_000, 60_000  # events; lines of one turn
    bus, heard, stretches = InMemoryEventBus(2 * backlog, history=1), Recorder(), list[int]()
    subscription = bus.subscribe("grow.*", heard)
    subscription.pause()
    async with bus:
        receipts = [bus.publish_nowait("grow.backlog") for _ in range(backlog)]
        if not watched:
            receipts.clear()
        await settle()
        assert bus.stats().queue_size == 0
        with counted() as lines:

            def tick() -> None:
                stretches.append(lines.count)
                lines.count = 0
                if not ended.done():
                    asyncio.get_running_loop().call_soon(tick)

            async def cancel() -> None:
                await subscription.cancel()
                assert await bus.drain(timeout=60)

            ended = asyncio.ensure_future(cancel())
            tick()
            await ended
            await asyncio.sleep(0)
        assert max(stretches) < longest
        assert bus.stats().cancelled == backlog
        assert len(heard) == 0
        assert {outcome.status for receipt in receipts for outcome in await receipt} <= {"cancelled"}


async def test_cancelling_with_a_backlog_settles_each_of_it_as_cancelled() -> None:
    bus, heard = InMemoryEventBus(20_000), Recorder()
    subscription = bus.subscribe("grow.*", heard)
    subscription.pause()
    async with bus:
        receipts = [bus.publish_nowait("grow.backlog") for _ in range(10_000)]
        await subscription.cancel()
        assert await bus.drain(timeout=60)
        statuses = [[outcome.status for outcome in await receipt] for receipt in receipts]
        assert bus.stats().pending == 0
    assert statuses == [["cancelled"]] * 10_000
    assert len(heard) == 0
