"""What makes no sense is refused where it is given, by its name: nothing is removed, and nobody is left less durable than they asked."""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from eventbus import Event, EventBus, InMemoryEventBus, InvalidSelector, PolicyConflict, create_event_bus
from eventbus.testing.virtual import errors_of

Call = Callable[[Any, Any], Any]  # with a bus and a value


@pytest.fixture
async def durable_bus(tmp_path: Path) -> AsyncIterator[EventBus]:
    async with create_event_bus(f"sqlite:///{tmp_path / 'run.db'}") as bus:
        await bus.publish_many([Event("told.n", payload={"n": n}) for n in range(5)])
        yield bus


async def listed(events: AsyncIterator[Event]) -> list[Any]:
    return [event["n"] async for event in events]


async def nothing(_event: Event) -> None:
    """Handled."""


NO_PLACE: list[Any] = [-1, True, 1.5, "1", math.nan, date(2030, 1, 1), datetime(2030, 1, 1)]  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize("name", ["since", "until", "before"])
async def test_a_place_is_an_offset_or_an_aware_time(durable_bus: EventBus, name: str) -> None:
    for value in NO_PLACE:
        with pytest.raises(PolicyConflict, match=name):
            await (durable_bus.trim(before=value) if name == "before" else listed(durable_bus.replay(**{name: value})))
    assert await listed(durable_bus.replay()) == [0, 1, 2, 3, 4]


BEYOND = [10**30, 2**63, datetime.max.replace(tzinfo=UTC), datetime(2262, 5, 1, tzinfo=UTC)]
BEFORE = [0, datetime.min.replace(tzinfo=UTC), datetime(1677, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize("place", BEYOND, ids=repr)
async def test_a_place_beyond_all_is_beyond_all(durable_bus: EventBus, place: Any) -> None:
    assert await listed(durable_bus.replay(since=place)) == []
    assert await listed(durable_bus.replay(until=place)) == [0, 1, 2, 3, 4]
    assert (await durable_bus.trim(before=place)).removed == 5


@pytest.mark.parametrize("place", BEFORE, ids=repr)
async def test_a_place_before_all_is_before_all(durable_bus: EventBus, place: Any) -> None:
    assert await listed(durable_bus.replay(since=place)) == [0, 1, 2, 3, 4]
    assert await listed(durable_bus.replay(until=place)) == []
    assert (await durable_bus.trim(before=place)).removed == 0


REFUSED: dict[str, tuple[str, Call, list[Any]]] = {
    "a size": ("max_bytes", lambda bus, value: bus.trim(max_bytes=value), [-1, True, 1.5, "1", math.nan]),
    "a pace": ("speed", lambda bus, value: bus.replay_to(nothing, speed=value), [-1, True, "1", math.nan, math.inf]),
    "a filter": ("where", lambda bus, value: listed(bus.replay(where=value)), [1, "n", True]),
    "letters": ("where", lambda bus, value: bus.dead_letters.purge(value), [0, 1, "n"]),
    "patience": ("wait", lambda bus, value: bus.connect(wait=value), [-1, "1", math.nan, None]),
    "processes": ("timeout", lambda bus, value: bus.halted_everywhere(timeout=value), [-1, "1", math.nan, None]),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_value_of_no_sense_is_refused_by_its_name(durable_bus: EventBus, what: str) -> None:
    name, call, values = REFUSED[what]
    for value in values:
        with pytest.raises(PolicyConflict, match=name):
            await call(durable_bus, value)
    assert await listed(durable_bus.replay()) == [0, 1, 2, 3, 4]


async def test_a_group_without_a_name_is_none(durable_bus: EventBus, event_bus: InMemoryEventBus) -> None:
    """Else `group=os.environ.get("GROUP", "")` would not be durable, and nobody told."""
    groups: list[Any] = ["", " ", 0, True, 3, "\ud800"]
    for bus in (durable_bus, event_bus):
        for group in groups:
            with pytest.raises(PolicyConflict, match="group"):
                bus.subscribe("told.*", nothing, group=group)
        assert bus.subscriptions == ()


async def test_a_group_that_cannot_start_there_ends_and_says_so(
    durable_bus: EventBus, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever waits for a log that is longer is told once, and without a traceback of ours."""
    with errors_of(asyncio.get_running_loop()) as nobodys:
        reading = durable_bus.subscribe("told.*", nothing, group="ledger", start=10**30)
        while reading.is_active:  # noqa: ASYNC110 - nobody tells when it ends
            await asyncio.sleep(0)
        await durable_bus.publish("told.n", {"n": 5})
        assert await durable_bus.drain(10)
        gc.collect()
    assert f"start={10**30} is not in this journal" in str(reading.error)
    assert [record.getMessage() for record in caplog.records if "cannot start" in record.getMessage()] == [
        f"durable subscription cannot start: {reading.error}"
    ]
    assert nobodys == []


async def test_what_looks_at_bursts_can_be_called(event_bus: InMemoryEventBus) -> None:
    with pytest.raises(PolicyConflict, match="callback"):
        event_bus.tap(3)  # type: ignore[arg-type]


Publish = Callable[[InMemoryEventBus, Any], Awaitable[object]]


@pytest.mark.parametrize("cause", [0, "an-id", True], ids=repr)
@pytest.mark.parametrize(
    "publish",
    [
        lambda bus, cause: bus.publish("told.n", cause=cause),
        lambda bus, cause: bus.publish_many([Event("told.n")], cause=cause),
        lambda bus, cause: bus.request("told.n", cause=cause),
    ],
)
async def test_a_cause_is_an_event(event_bus: InMemoryEventBus, publish: Publish, cause: Any) -> None:
    with pytest.raises(TypeError, match="cause takes the event"):
        await publish(event_bus, cause)
    assert event_bus.get_stats()["published"] == 0


@pytest.mark.parametrize("payload", [3, "text", [1], [("n", 1)]], ids=repr)
async def test_a_payload_is_a_mapping(event_bus: InMemoryEventBus, payload: Any) -> None:
    with pytest.raises(TypeError, match="payload takes a mapping"):
        await event_bus.publish("told.n", payload)


@pytest.mark.parametrize("selector", [0, None, int])
async def test_the_last_of_what_is_no_event_is_asked_in_vain(event_bus: InMemoryEventBus, selector: Any) -> None:
    with pytest.raises(InvalidSelector):
        event_bus.last(selector)
