"""One call at a time; what comes meanwhile gathers, and who is cancelled in time was never there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from eventbus.journal.remote.gathering import Gathering


class Calls:
    """Answers each job with itself, once the gate is open."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.gate = asyncio.Event()
        self.began = asyncio.Event()

    async def run(self, jobs: Sequence[int]) -> Sequence[object]:
        self.seen.append([*jobs])
        self.began.set()
        await self.gate.wait()
        if 13 in jobs:
            raise LookupError("13")
        return [ValueError(str(job)) if job < 0 else job for job in jobs]


async def test_the_next_gathers_while_one_is_on_its_way() -> None:
    calls = Calls()
    gathering = Gathering(calls.run, most=100)
    first = [gathering.submit(job) for job in (1, 2)]
    await calls.began.wait()
    later = [gathering.submit(job) for job in (3, 4, 5)]
    calls.gate.set()
    assert await asyncio.gather(*first, *later) == [1, 2, 3, 4, 5]
    assert calls.seen == [[1, 2], [3, 4, 5]]


async def test_no_call_takes_more_than_it_may_but_one_job_at_least() -> None:
    calls = Calls()
    calls.gate.set()
    gathering = Gathering(calls.run, most=10, size_of=lambda job: job)
    await asyncio.gather(*(gathering.submit(job) for job in (4, 6, 1, 50, 10)))
    assert calls.seen == [[4, 6], [1], [50], [10]]


async def test_a_failure_is_of_one_job_or_of_all_that_went_together() -> None:
    calls = Calls()
    calls.gate.set()
    gathering = Gathering(calls.run, most=100)
    answers = await asyncio.gather(gathering.submit(1), gathering.submit(-2), return_exceptions=True)
    assert answers[0] == 1
    assert isinstance(answers[1], ValueError)
    answers = await asyncio.gather(gathering.submit(1), gathering.submit(13), return_exceptions=True)
    assert all(isinstance(answer, LookupError) for answer in answers)
    assert await gathering.submit(7) == 7


async def test_who_is_cancelled_before_its_turn_is_withdrawn() -> None:
    calls = Calls()
    gathering = Gathering(calls.run, most=100)
    sent = gathering.submit(1)
    await calls.began.wait()
    withdrawn, kept = gathering.submit(2), gathering.submit(3)
    withdrawn.cancel()
    sent.cancel()  # too late: it is on its way, and nobody hears the answer
    calls.gate.set()
    assert await kept == 3
    await gathering.done()
    assert calls.seen == [[1], [3]]
    with pytest.raises(asyncio.CancelledError):
        await withdrawn
