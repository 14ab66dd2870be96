"""What others publish is heard here once, in the order of the log, with what this process publishes in its place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus, Kind
from eventbus.testing import Recorder, SharedMemoryLog
from eventbus.testing.journal_contract import item

pytestmark = pytest.mark.virtual_time
Make = Callable[..., InMemoryEventBus]


class Mode(Event, type="test.tail.mode", kind=Kind.CONTROL, retain=True):
    """How things are."""

    n: int = 0


async def pair(make: Make, **settings: Any) -> tuple[InMemoryEventBus, InMemoryEventBus]:
    first, second = make(**settings), make(**settings)
    await first.connect()
    await second.connect()
    return first, second


async def test_retained_values_streams_and_expectations_are_fed_by_others(make: Make) -> None:
    first, second = await pair(make)
    async with second.stream("t.*") as stream:
        expected = asyncio.ensure_future(second.expect("t.*", timeout=5))
        await first.publish(Mode(n=7))
        await first.publish("t.x", {"n": 1})
        assert (await expected)["n"] == 1
        async with asyncio.timeout(5):
            assert (await anext(aiter(stream)))["n"] == 1
    last = second.last(Mode)
    assert last is not None
    assert last.n == 7


async def test_a_receipt_covers_the_subscriptions_of_its_process(make: Make) -> None:
    first, second = await pair(make)
    heard = Recorder(), Recorder()
    first.subscribe("t.*", heard[0], name="here")
    second.subscribe("t.*", heard[1], name="there")
    receipt = await first.publish("t.x", {"n": 1})
    assert [outcome.subscription for outcome in await receipt] == ["here"]
    assert receipt.offset == 1
    assert await first.publish_and_wait("t.x", {"n": 2}) == []
    assert "local_outcomes" in first.capabilities


async def test_without_hints_it_is_heard_within_the_poll(make: Make, log: SharedMemoryLog) -> None:
    first, second = await pair(make, poll=2.0)
    heard = Recorder()
    second.subscribe("t.*", heard)
    log.hints = False
    await first.publish("t.x", {"n": 1})
    await asyncio.sleep(2.1)
    assert heard.values("n") == [1]


async def test_a_full_process_holds_up_nobody_and_catches_up(make: Make) -> None:
    first, second = await pair(make)
    slow, seen = make(), Recorder()
    slow._door.places.size = 5  # a small one
    may_go, quick = asyncio.Event(), Recorder()

    async def handle(event: Event) -> None:
        await may_go.wait()
        await seen(event)

    await slow.connect()
    slow.subscribe("t.*", handle)
    second.subscribe("t.*", quick)
    for n in range(40):
        await first.publish("t.x", {"n": n})
    await asyncio.sleep(2)
    assert (len(quick), len(seen)) == (40, 0)
    publishing = [asyncio.ensure_future(slow.publish("t.x", {"n": n}, timeout=60)) for n in range(40, 43)]
    await asyncio.sleep(2)
    may_go.set()
    await asyncio.gather(*publishing)
    await asyncio.sleep(5)
    assert seen.values("n") == [*range(43)]


async def test_what_cannot_be_read_is_passed_over(make: Make) -> None:
    first, second = await pair(make)
    heard = Recorder()
    second.subscribe("*", heard)
    await first.journal.append([item(1, type="t.bad", body=b"\xff")])
    await first.publish("t.x", {"n": 1})
    await asyncio.sleep(2)
    assert heard.values("n") == [1]


@pytest.mark.parametrize("body", [None, b"\xff"])
async def test_what_comes_after_something_of_others_goes_on_without_more_to_come(
    make: Make, log: SharedMemoryLog, body: bytes | None
) -> None:
    first, second = await pair(make)
    heard = Recorder()
    first.subscribe("t.*", heard)
    log.hints = False  # what others append is read later than what follows it is known
    if body is None:
        await second.publish("t.x", {"n": 1})
    else:
        await second.journal.append([item(1, type="t.bad", body=body)])
    async with asyncio.timeout(20):
        await first.publish_and_wait("t.x", {"n": 2})
    assert heard.values("n")[-1] == 2


async def test_what_was_removed_before_it_was_heard_is_a_gap(make: Make, log: SharedMemoryLog) -> None:
    first, second = await pair(make)
    heard = Recorder()
    second.subscribe("t.*", heard)
    second.journal.cut_off()  # type: ignore[attr-defined] # it is the one in memory
    for n in range(5):
        await first.publish("t.x", {"n": n})
    log.trim(None, None, 4, force=True)
    second.journal.mend()  # type: ignore[attr-defined]
    await first.publish("t.x", {"n": 5})
    await asyncio.sleep(3)
    assert heard.values("n") == [3, 4, 5]


async def test_an_event_published_twice_is_dispatched_once(make: Make) -> None:
    first, second = await pair(make)
    heard, event = Recorder(), Event("t.x", payload={"n": 1})
    first.subscribe("t.*", heard)
    await second.publish(event)
    receipt = await first.publish(event)
    await asyncio.sleep(2)
    assert heard.values("n") == [1]
    assert receipt.offset == 1


async def test_what_this_process_published_comes_as_it_was_with_its_context(make: Make) -> None:
    first, _second = await pair(make)
    heard, event = Recorder(), Event("t.x", payload={"n": 1})
    first.subscribe("t.*", heard)
    await first.publish(event)
    await asyncio.sleep(1)
    assert heard.events[0] is event
