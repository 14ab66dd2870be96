"""A question is answered by whoever can, here or elsewhere; nobody's silence lasts longer than the time-out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal

import pytest

from eventbus import CodecError, Event, InMemoryEventBus, PolicyConflict
from eventbus.testing import Recorder, SharedMemoryLog

pytestmark = pytest.mark.virtual_time
Make = Callable[..., InMemoryEventBus]


async def pair(make: Make) -> tuple[InMemoryEventBus, InMemoryEventBus]:
    first, second = make(), make()
    await first.connect()
    await second.connect()
    return first, second


@pytest.mark.parametrize("policy", [{}, {"group": "risk"}, {"group": "risk", "concurrency": 4}])
async def test_the_value_that_a_handler_elsewhere_returns_is_the_answer(make: Make, policy: dict[str, int]) -> None:
    first, second = await pair(make)

    async def check(event: Event) -> dict[str, Decimal]:
        return {"limit": Decimal(event["size"]) / 3}

    await second.subscribe("risk.check", check, **policy)  # type: ignore[call-overload] # a dict has no types
    assert await first.request("risk.check", {"size": 1}, timeout=5) == {"limit": Decimal(1) / 3}


async def test_an_event_is_an_answer_too_and_a_handler_here_comes_first(make: Make) -> None:
    first, second = await pair(make)

    async def elsewhere(_event: Event) -> Event:
        await asyncio.sleep(1)
        return Event("t.answer", payload={"from": "elsewhere"})

    second.subscribe("t.ask", elsewhere)
    answer = await first.request("t.ask", timeout=5)
    assert isinstance(answer, Event)
    assert answer["from"] == "elsewhere"

    async def here(_event: Event) -> str:
        return "here"

    first.subscribe("t.ask", here)
    assert await first.request("t.ask", timeout=5) == "here"


async def test_no_answer_is_a_time_out_on_time_and_a_late_one_is_dropped(make: Make) -> None:
    first, second = await pair(make)
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def late(_event: Event) -> int:
        await asyncio.sleep(3)
        return 1

    second.subscribe("t.ask", late)
    first.subscribe("t.ask", Recorder())  # it answers nothing
    with pytest.raises(TimeoutError):
        await first.request("t.ask", timeout=2)
    assert loop.time() - began == pytest.approx(2)
    await asyncio.sleep(5)
    assert first._store._asking.late == 1  # type: ignore[attr-defined] # counted there


async def test_a_handler_here_that_raises_is_heard_at_once(make: Make) -> None:
    first, _second = await pair(make)

    async def fail(_event: Event) -> None:
        raise LookupError("no such account")

    first.subscribe("t.ask", fail)
    with pytest.raises(LookupError, match="no such account"):
        await first.request("t.ask", timeout=60)


async def test_what_cannot_be_told_and_what_has_no_time_out_is_refused(make: Make, log: SharedMemoryLog) -> None:
    first, second = await pair(make)

    async def odd(_event: Event) -> object:
        return object()

    second.subscribe("t.ask", odd)
    with pytest.raises(CodecError, match="cannot be told"):
        await first.request("t.ask", timeout=5)
    before = log.last
    with pytest.raises(PolicyConflict, match="other process") as refused:
        await first.request("t.ask")
    assert refused.value.argument == "timeout"
    assert log.last == before
