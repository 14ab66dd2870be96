"""Reading the past on a bus with a journal: replay by offset and time, and how one event led to another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from eventbus import Event, EventBus, OffsetGone, PolicyConflict, Retry, create_event_bus
from eventbus.testing.recorder import Recorder

DAY = datetime(2026, 1, 1, tzinfo=UTC)


class BarEvent(Event, type="test.reads.bar"):
    """A bar."""

    n: int


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[EventBus]:
    """Ten days, an event each; bars on even days."""
    async with create_event_bus(f"sqlite:///{tmp_path}/run.db") as bus:
        days = [DAY + timedelta(days=n) for n in range(10)]
        await bus.publish_many(
            [
                Event("t.odd", payload={"n": n}, timestamp=day) if n % 2 else BarEvent(n=n, timestamp=day)
                for n, day in enumerate(days)
            ]
        )
        yield bus


async def test_replay_gives_everything_in_order_with_its_class(bus: EventBus) -> None:
    events = [event async for event in bus.replay()]
    assert [event["n"] for event in events] == list(range(10))
    assert [type(event) is BarEvent for event in events] == [True, False] * 5


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (4, None, range(3, 10)),
        (None, 4, range(4)),
        (3, 3, range(2, 3)),
        (DAY + timedelta(days=3), None, range(3, 10)),
        (DAY + timedelta(days=3, seconds=1), None, range(4, 10)),
        (None, DAY + timedelta(days=3), range(4)),
        (DAY + timedelta(days=2), DAY + timedelta(days=5), range(2, 6)),
        (DAY + timedelta(days=99), None, range(0)),
        (11, None, range(0)),
        (None, 0, range(0)),
        (0, None, range(10)),
    ],
)
async def test_since_and_until_are_inclusive(
    bus: EventBus, since: int | datetime | None, until: int | datetime | None, expected: range
) -> None:
    assert [event["n"] async for event in bus.replay(since, until)] == list(expected)


async def test_times_are_asked_of_each_event_however_they_are_ordered(bus: EventBus) -> None:
    await bus.publish(BarEvent(n=77, timestamp=DAY + timedelta(days=4)))
    window = bus.replay(DAY + timedelta(days=4), DAY + timedelta(days=5))
    assert [event["n"] async for event in window] == [4, 5, 77]


async def test_types_and_where_choose(bus: EventBus) -> None:
    assert [event["n"] async for event in bus.replay(types="t.*")] == [1, 3, 5, 7, 9]
    assert [event["n"] async for event in bus.replay(types=BarEvent.type, where=lambda e: e["n"] > 4)] == [6, 8]


async def test_a_time_without_a_zone_is_refused(bus: EventBus) -> None:
    for since, until in ((datetime(2026, 1, 1), None), (None, datetime(2026, 1, 1))):  # noqa: DTZ001 - that is the point
        with pytest.raises(PolicyConflict):
            [event async for event in bus.replay(since, until)]


async def test_replay_below_retention_names_what_is_left(bus: EventBus) -> None:
    for n in range(10, 20):
        await bus.publish(BarEvent(n=n))
    trimmed = await bus.trim(before=12)
    with pytest.raises(OffsetGone) as caught:
        [event async for event in bus.replay(since=1)]
    assert caught.value.oldest == trimmed.first > 1
    assert [event["n"] async for event in bus.replay()] == list(range(trimmed.first - 1, 20))


async def test_a_replay_reaches_no_live_subscription_and_counts_nothing(bus: EventBus) -> None:
    live, durable = Recorder(), Recorder()
    bus.subscribe("*", live)
    bus.subscribe("*", durable, group="g")
    before = bus.get_stats()
    again: list[int] = []
    assert await bus.replay_to(lambda event: again.append(event["n"])) == 10
    assert await bus.drain(60)
    assert again == list(range(10))
    assert len(live) == len(durable) == 0
    assert bus.get_stats()["published"] == before["published"]


async def test_replay_to_awaits_async_handlers_one_after_the_other(bus: EventBus) -> None:
    running = 0

    async def handle(_event: Event) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0)
        running -= 1

    assert await bus.replay_to(handle, since=2, until=5) == 4


async def test_replay_keeps_the_pace_it_is_told(bus: EventBus) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await bus.replay_to(lambda _event: None, until=3, speed=2 * 86_400 / 0.02) == 3
    assert loop.time() - began >= 0.018  # timers of uvloop count whole milliseconds


async def test_what_is_published_during_a_replay_is_not_part_of_it(bus: EventBus) -> None:
    seen = 0
    async for _event in bus.replay():
        seen += 1
        await bus.publish(BarEvent(n=100))
    assert seen == 10


async def test_an_event_is_traced_to_its_root_and_its_leaves_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "causes.db"
    bus = create_event_bus(f"sqlite:///{path}")
    failed: list[str] = []

    async def signal(cause: Event) -> None:
        await bus.publish("t.signal", {"of": cause["n"]})

    async def order(cause: Event) -> None:
        if not failed:
            failed.append(cause.event_id)
            raise OSError
        await bus.publish("t.order", {"of": cause["of"]})
        await bus.publish("t.note", {"of": cause["of"]})

    bus.subscribe("t.bar", signal, durable=True, name="alpha")
    bus.subscribe("t.signal", order, durable=True, name="trader", retry=Retry(attempts=2, delay=0))
    async with bus:
        root = await bus.publish("t.bar", {"n": 1})
        other = await bus.publish("t.other", {"n": 2})
        assert await bus.drain(60)
    async with create_event_bus(f"sqlite:///{path}") as bus:
        (leaf,) = [event async for event in bus.replay(types="t.order")]
        down, up = await bus.explain(root.event_id), await bus.explain(leaf.event_id)
        with pytest.raises(LookupError):
            await bus.explain("nobody")
        alone = await bus.explain(other.event_id)
    assert [event.type for event in down.descendants] == ["t.signal", "t.order", "t.note"]
    assert [event.type for event in up.ancestors] == ["t.signal", "t.bar"]
    assert up.root.event_id == root.event_id
    assert (alone.ancestors, alone.descendants) == ((), ())
    handled = down.handled[down.descendants[0].event_id]
    assert [(each.subscription, each.status, each.attempts) for each in handled] == [("trader", "succeeded", 2)]
    assert handled[0].ran_s is not None
    assert handled[0].queued_s is not None
    after = down.after_cause_s(down.descendants[0])
    assert after is not None
    assert after > 0
    assert down.after_cause_s(down.event) is None
    assert down.age_s(down.event.timestamp + timedelta(seconds=3)) == 3
    lines = str(down).splitlines()
    assert [line.split()[0] for line in lines] == ["t.bar", "└─", "└─", "└─"]
    assert "[alpha succeeded in" in lines[0]
    assert "after 2 attempts]" in lines[1]
    assert lines[2].startswith("   └─ t.order")
