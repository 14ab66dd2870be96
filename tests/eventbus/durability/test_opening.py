"""A journal is taken once, by whoever needs it first, and never by a bus that was shut down or by another process."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from eventbus import BusStopped, JournalInUse, SystemClock, WrongProcess, create_event_bus
from eventbus.durability.opening import Opening
from eventbus.road.lifetime import Lifetime


class Taking:
    """Takes when it may, and counts."""

    def __init__(self) -> None:
        self.may, self.times = asyncio.Event(), 0
        self.error: Exception | None = None

    async def __call__(self) -> None:
        self.times += 1
        await self.may.wait()
        if self.error is not None:
            raise self.error


def opening_of(take: Taking) -> Opening:
    return Opening(Lifetime(name="bus", clock=SystemClock(), rng=random.Random(1), grace=1.0), take)


async def test_everybody_waits_for_one_taking() -> None:
    take = Taking()
    opening = opening_of(take)
    waiting = [asyncio.create_task(opening.open()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not opening.is_open
    take.may.set()
    await asyncio.gather(*waiting)
    await opening.open()
    assert (opening.is_open, take.times) == (True, 1)


async def test_what_failed_is_told_to_all_and_may_be_tried_again() -> None:
    take = Taking()
    take.error = JournalInUse("run.db", "somebody")
    opening = opening_of(take)
    waiting = [asyncio.create_task(opening.open()) for _ in range(2)]
    await asyncio.sleep(0)
    take.may.set()
    for error in await asyncio.gather(*waiting, return_exceptions=True):
        assert error is take.error
    take.error = None
    await opening.open()
    assert (opening.is_open, take.times) == (True, 2)


async def test_who_is_cancelled_while_waiting_cancels_nobody_else() -> None:
    take = Taking()
    opening = opening_of(take)
    impatient, patient = asyncio.create_task(opening.open()), asyncio.create_task(opening.open())
    await asyncio.sleep(0)
    impatient.cancel()
    take.may.set()
    await patient
    await opening.ended()
    assert opening.is_open


async def test_after_it_was_let_go_a_bus_that_was_shut_down_takes_it_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Taking()
    take.may.set()
    opening = opening_of(take)
    await opening.open()
    opening.closed()
    monkeypatch.setattr(Lifetime, "is_shut", True)
    with pytest.raises(BusStopped):
        await opening.open("replay()")


async def test_another_process_is_refused(tmp_path: Path) -> None:
    bus = create_event_bus(f"sqlite:///{tmp_path}/run.db")
    await bus.publish("a.b", {})
    read, write = os.pipe()
    if not (child := os.fork()):
        try:
            bus.publish_nowait("a.b", {})
        except WrongProcess as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)  # noqa: ASYNC222 - it ends at once
    assert b"publish" in os.read(read, 1000)
    os.close(read)
    os.close(write)
    await bus.shutdown()
