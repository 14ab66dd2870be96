"""A journal that fails is told of about once a minute, whoever waits for it; tries come less and less often."""

from __future__ import annotations

import asyncio
import logging
import random

import pytest

from eventbus import JournalUnavailable
from eventbus.durability.trouble import Patience, Trouble
from eventbus.road.lifetime import Lifetime
from eventbus.testing import VirtualClock

FULL = JournalUnavailable("run.db", "the disk is full")


@pytest.fixture
async def trouble(virtual_clock: VirtualClock) -> Trouble:
    lifetime = Lifetime(name="bus", clock=virtual_clock, rng=random.Random(1), grace=1.0)
    lifetime.crew.bind(asyncio.get_running_loop())
    return Trouble(lifetime)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def test_the_first_is_told_whole_and_the_others_of_the_minute_together(
    trouble: Trouble, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(40):
        trouble.tell("cursor not committed", FULL, group="books")
        await virtual_clock.advance(1)
    assert told(caplog) == [f"cursor not committed: {FULL}"]
    assert caplog.records[0].__dict__["group"] == "books"
    await virtual_clock.advance(30)
    assert told(caplog)[1:] == [
        f"the journal failed 39 more times within a minute, at last: cursor not committed: {FULL}"
    ]


async def test_while_it_goes_on_each_minute_has_one_line(
    trouble: Trouble, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(200):
        trouble.tell("cursor not committed", FULL)
        await virtual_clock.advance(1)
    assert len(told(caplog)) == 1 + 200 // 60
    assert sum(record.__dict__.get("more", 1) for record in caplog.records) == 1 + 179


async def test_another_reason_is_named_within_a_minute(
    trouble: Trouble, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    for error in [FULL] * 70 + [JournalUnavailable("run.db", "the disk is gone")] * 60:
        trouble.tell("cursor not committed", error)
        await virtual_clock.advance(1)
    assert "the disk is gone" in told(caplog)[-1]


async def test_a_quiet_minute_later_it_is_told_whole_again(
    trouble: Trouble, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    trouble.tell("cursor not committed", FULL)
    await virtual_clock.advance(61)
    trouble.tell("retention waits", FULL)
    assert told(caplog) == [f"cursor not committed: {FULL}", f"retention waits: {FULL}"]


async def test_the_end_says_what_was_not_said_yet(trouble: Trouble, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        trouble.tell("cursor not committed", FULL)
    trouble.end_minute()
    trouble.end_minute()
    assert told(caplog)[1:] == [
        f"the journal failed 2 more times within a minute, at last: cursor not committed: {FULL}"
    ]


async def test_whoever_waits_waits_longer_each_time_and_briefly_after_a_success(virtual_clock: VirtualClock) -> None:
    patience, waits = Patience(), list[float]()
    for n in range(9):
        if n == 7:
            patience.worked()
        began = virtual_clock.time()
        await patience.wait()
        waits.append(round(virtual_clock.time() - began, 3))
    assert waits == [0.25, 0.5, 1, 2, 2, 2, 2, 0.25, 0.5]
