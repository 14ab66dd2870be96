"""Who reads for which group: one at a time, and the next goes on where the last one was."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from eventbus import Event, EventBus, PolicyConflict, create_event_bus
from eventbus.testing import Recorder


@pytest.fixture(params=["memory", "sqlite"])
def bus(request: pytest.FixtureRequest, tmp_path: Path) -> EventBus:
    settings: dict[str, Any] = {"path": str(tmp_path / "run.db")} if request.param == "sqlite" else {}
    return create_event_bus({"backend": request.param, **settings})


@pytest.mark.parametrize(
    ("argument", "policy"),
    [
        ("queue_size", {"queue_size": 5}),
        ("overflow", {"overflow": "drop_oldest", "queue_size": None}),
        ("replay_last", {"replay_last": True}),
        ("start", {"start": -1}),
        ("start", {"start": "middle"}),
        ("start", {"start": True}),
    ],
)
def test_what_a_group_cannot_have_is_refused_by_name(bus: EventBus, argument: str, policy: dict[str, Any]) -> None:
    with pytest.raises(PolicyConflict) as refused:
        bus.subscribe("t.*", Recorder(), group="books", **policy)
    assert refused.value.argument == argument
    assert bus.get_handler_count() == 0


def test_one_subscription_at_a_time_reads_for_a_group(bus: EventBus) -> None:
    first = bus.subscribe("t.*", Recorder(), group="books")
    with pytest.raises(PolicyConflict, match="books"):
        bus.subscribe("t.*", Recorder(), durable=True, name="books")
    first.cancel()
    assert bus.subscribe("t.*", Recorder(), group="books").is_active


def test_without_a_name_the_group_is_that_of_the_handler_and_it_may_be_taken(bus: EventBus) -> None:
    async def handle(_event: object) -> None: ...

    name = bus.subscribe("t.*", handle, durable=True).name
    with pytest.raises(PolicyConflict):
        bus.subscribe("t.*", handle, group=name)


def test_a_group_that_is_taken_after_all_leaves_no_subscription(bus: EventBus) -> None:
    async def handle(_event: object) -> None: ...

    bus.subscribe("t.*", Recorder(), group=handle.__qualname__, name="other")
    with pytest.raises(PolicyConflict):
        bus.subscribe("t.*", handle, durable=True)
    assert [subscription.name for subscription in bus.subscriptions] == ["other"]


async def test_what_is_left_to_read_keeps_the_bus_from_being_idle(bus: EventBus) -> None:
    seen = Recorder()
    async with bus:
        held = bus.subscribe("t.*", seen, group="books")
        held.pause()
        await bus.publish("t.x", {"n": 1})
        assert not await bus.drain(0.01)
        held.resume()
        assert await bus.drain(60)
    assert seen.values("n") == [1]


async def test_who_comes_next_does_not_get_what_the_one_before_still_handles(bus: EventBus) -> None:
    began, may_end, first, second = asyncio.Event(), asyncio.Event(), list[int](), Recorder()

    async def hold(event: Event) -> None:
        began.set()
        await may_end.wait()
        first.append(event["n"])

    async with bus, asyncio.timeout(60):
        held = bus.subscribe("t.*", hold, group="books")
        await bus.publish_many([Event("t.x", payload={"n": n}) for n in range(3)])
        await began.wait()
        held.cancel()
        bus.subscribe("t.*", second, group="books")
        for _ in range(20):
            await bus.publish("other")
        assert len(second) == 0
        may_end.set()
        assert await bus.drain(60)
    assert (first, second.values("n")) == ([0], [1, 2])
