"""One halt for all processes: seen everywhere, cleared once, and nothing of kind EXECUTION goes where it cannot be seen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from eventbus import Event, Halted, InMemoryEventBus, Kind, PolicyConflict
from eventbus.testing import SharedMemoryLog

pytestmark = pytest.mark.virtual_time
Make = Callable[..., InMemoryEventBus]


class Filled(Event, type="test.latching.filled", kind=Kind.EXECUTION):
    """Money moved."""


async def pair(make: Make) -> tuple[InMemoryEventBus, InMemoryEventBus]:
    first, second = make(lease=9.0), make(lease=9.0)
    await first.connect()
    await second.connect()
    return first, second


async def test_it_holds_at_once_here_and_within_a_second_elsewhere(make: Make) -> None:
    first, second = await pair(make)
    first.halt("drawdown")
    with pytest.raises(Halted, match="drawdown"):
        await first.publish(Filled())
    await asyncio.sleep(1)
    with pytest.raises(Halted, match="drawdown"):
        await second.publish(Filled())
    assert second.halt_reason == "drawdown"
    await second.publish("t.x")


async def test_without_hints_it_holds_elsewhere_within_a_third_of_the_lease(make: Make, log: SharedMemoryLog) -> None:
    first, second = await pair(make)
    await asyncio.sleep(5)
    log.hints = False
    first.halt("drawdown")
    await asyncio.sleep(9 / 3 + 1)
    with pytest.raises(Halted, match="drawdown"):
        await second.publish(Filled())


async def test_who_has_not_seen_it_for_a_lease_refuses(make: Make) -> None:
    _first, second = await pair(make)
    await asyncio.sleep(1)
    second.journal.cut_off()  # type: ignore[attr-defined] # it is the one in memory
    await asyncio.sleep(9.1)
    with pytest.raises(Halted, match="cannot see the halt latch"):
        await second.publish(Filled())
    second.journal.mend()  # type: ignore[attr-defined]
    await asyncio.sleep(1)
    await second.publish(Filled())


async def test_the_first_reason_stands_and_its_token_clears_it_from_anywhere(make: Make) -> None:
    first, second = await pair(make)
    token = first.halt("drawdown")
    await asyncio.sleep(1)
    assert second.halt("by hand") == token
    await second.rearm(token)
    assert not second.is_halted
    await asyncio.sleep(1)
    assert not first.is_halted


async def test_two_who_halt_at_once_have_one_halt(make: Make) -> None:
    first, second = await pair(make)
    tokens = first.halt("one"), second.halt("two")
    await asyncio.sleep(1)
    assert first.halt_reason == second.halt_reason
    assert first.halt("again") == second.halt("again") != ""
    assert first.halt("again") in tokens


async def test_two_who_clear_it_cannot_both_win(make: Make) -> None:
    first, second = await pair(make)
    token = first.halt("drawdown")
    await asyncio.sleep(1)
    answers = await asyncio.gather(first.rearm(token), second.rearm(token), return_exceptions=True)
    assert [type(answer) for answer in answers if answer is not None] == [PolicyConflict]
    await asyncio.sleep(1)
    assert not first.is_halted
    assert not second.is_halted


async def test_who_starts_while_it_holds_begins_halted(make: Make) -> None:
    first, _second = await pair(make)
    first.halt("drawdown")
    await asyncio.sleep(1)
    late = make()
    await late.connect()
    assert late.halt_reason == "drawdown"


async def test_it_is_told_who_has_seen_it(make: Make) -> None:
    first, second = await pair(make)
    await asyncio.sleep(1)
    first.halt("drawdown")
    assert [*(await first.halted_everywhere(5)).values()] == [True, True]
    second.journal.cut_off()  # type: ignore[attr-defined]
    await first.rearm(first.halt("again"))
    first.halt("once more")
    assert sorted(map(str, (await first.halted_everywhere(3)).values())) == ["None", "True"]
