"""Faults: whatever the network does, what was acknowledged is there, what may be there is said to be unknown, and asking again is safe."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import pytest

from eventbus.errors import JournalError, JournalUnavailable, LeaseLost, OutcomeUnknown, PublishTimeout
from eventbus.journal.shared import Part, SharedJournal
from eventbus.journal.values import Settled, Status
from eventbus.testing.journal_contract.items import item, items, letter, offsets
from eventbus.testing.servers.proxy import FaultProxy
from eventbus.testing.shared_contract.opened import PATIENCE_S, MakeAt, MakeShared, Shared, joined, until

_T = TypeVar("_T")


class FaultContract(Shared):
    """What every shared journal does when its network fails. `faults` is how many times that happens in a test."""

    faults = 12

    async def test_an_append_whose_answer_was_lost_is_settled_by_its_id(self, make_at: MakeAt, port: int) -> None:
        async with FaultProxy(port) as proxy, joined(lambda: make_at(proxy.port)) as journal:
            await journal.append([item(1)])
            proxy.lose_answers()
            unsure = asyncio.ensure_future(journal.append([item(2)]))
            await until_taken(unsure, proxy)
            with pytest.raises(OutcomeUnknown) as unknown:
                await unsure
            assert unknown.value.event_id == item(2).event_id
            (answer,) = await again(lambda: journal.append([item(2)]))
            assert answer.offset == 2
            assert offsets(await again(lambda: journal.read(0))) == [1, 2]

    async def test_attempts_whose_answer_was_lost_are_counted_once(self, make_at: MakeAt, port: int) -> None:
        async with FaultProxy(port) as proxy, joined(lambda: make_at(proxy.port)) as journal:
            await journal.append(items(1, 3))
            lease = (await journal.acquire(["g/0"]))["g/0"]
            await journal.open_part(lease, "beginning")
            await journal.record_part_attempts(lease, [1])
            proxy.lose_answers()
            unsure = asyncio.ensure_future(journal.record_part_attempts(lease, [1, 2]))
            await until_taken(unsure, proxy)
            with pytest.raises(OutcomeUnknown):
                await unsure
            counts = await again(lambda: journal.record_part_attempts(lease, [1, 2, 3]))
            assert counts == {1: 2, 2: 1, 3: 1}

    async def test_a_commit_is_whole_under_a_killed_connection(
        self, make: MakeShared, make_at: MakeAt, port: int
    ) -> None:
        chance = random.Random(7)
        async with (
            FaultProxy(port) as proxy,
            joined(lambda: make_at(proxy.port)) as journal,
            joined(make) as witness,
        ):
            await journal.append(items(1, self.faults))
            lease = (await journal.acquire(["ledger/0"]))["ledger/0"]
            await journal.open_part(lease, "beginning")
            for offset in range(1, self.faults + 1):
                part = Part(lease, [Settled(offset, Status.DEAD_LETTERED)], dead=[letter(offset)])
                fault = chance.choice([proxy.cut, proxy.reset, proxy.lose_answers])
                committing = asyncio.ensure_future(journal.commit_parts([part]))
                for _ in range(chance.randrange(8)):
                    await asyncio.sleep(0)
                fault()
                await until_taken(committing, proxy)
                told = (await asyncio.gather(committing, return_exceptions=True))[0]
                assert isinstance(told, JournalError | list | tuple)
                assert not isinstance(told, LeaseLost)
                floor = await settled_floor(witness)
                assert floor == offset or not isinstance(told, list | tuple)
                assert await again(partial(journal.commit_parts, [part])) == [offset]
                assert await witness.count_dead_letters() == offset

    async def test_nothing_is_sent_where_there_is_no_connection(self, make_at: MakeAt, port: int) -> None:
        async with FaultProxy(port) as proxy, joined(lambda: make_at(proxy.port)) as journal:
            proxy.refuse()
            with pytest.raises((PublishTimeout, OutcomeUnknown)):  # it may not have noticed yet
                await journal.append([item(1)])
            told = await asyncio.gather(journal.append([item(1)]), journal.read(0), return_exceptions=True)
            assert isinstance(told[0], PublishTimeout)
            assert isinstance(told[1], JournalUnavailable)
            proxy.heal()
            (answer,) = await again(lambda: journal.append([item(1)]))
            assert answer.offset == 1

    async def test_no_call_outlasts_a_silent_network(self, make_at: MakeAt, port: int) -> None:
        async with FaultProxy(port) as proxy, joined(lambda: make_at(proxy.port)) as journal:
            proxy.black_hole()
            calls = journal.append([item(1)]), journal.read(0)
            async with asyncio.timeout(PATIENCE_S):
                told = await asyncio.gather(*calls, return_exceptions=True)
            assert isinstance(told[0], OutcomeUnknown | PublishTimeout)
            assert isinstance(told[1], JournalUnavailable)
            proxy.heal()
            (answer,) = await again(lambda: journal.append([item(1)]))
            assert answer.offset == 1

    async def test_a_cancelled_call_leaves_a_journal_that_works(self, make_at: MakeAt, port: int) -> None:
        async with FaultProxy(port) as proxy, joined(lambda: make_at(proxy.port)) as journal:
            await journal.append(items(1, 3))
            for turns in range(12):
                asked = [
                    asyncio.ensure_future(call)
                    for call in (journal.read(0), journal.values("s"), journal.members(), journal.append([item(3)]))
                ]
                for _ in range(turns):
                    await asyncio.sleep(0)
                for each in asked:
                    each.cancel()
                await asyncio.gather(*asked, return_exceptions=True)
                assert offsets(await journal.read(0)) == [1, 2, 3]

    async def test_who_waits_goes_on_after_the_network_is_back(
        self, make: MakeShared, make_at: MakeAt, port: int
    ) -> None:
        async with (
            FaultProxy(port) as proxy,
            joined(lambda: make_at(proxy.port)) as journal,
            joined(make) as other,
        ):
            waiting = asyncio.ensure_future(journal.wait(0, timeout=PATIENCE_S))
            proxy.refuse()
            await other.append(items(1, 2))
            proxy.heal()
            assert await waiting
            assert journal.last == 2


async def settled_floor(journal: SharedJournal) -> int:
    """The floor of the part, where there are as many dead letters. What was sent may still arrive between two looks."""
    while True:
        before = await journal.committed("ledger/0")
        letters = await journal.count_dead_letters()
        after = await journal.committed("ledger/0")
        if before is not None and before == after:
            assert letters == before.floor
            return letters


async def until_taken(call: asyncio.Future[Any], proxy: FaultProxy) -> None:
    """Until a fault has hit a call, which fails, or hears nothing; then mend the network: what hangs is told by the reset."""

    lost = proxy.lost

    async def is_hit() -> bool:
        return call.done() or proxy.lost > lost

    await until(is_hit)
    proxy.heal()
    await asyncio.wait([call])


async def again(call: Callable[[], Awaitable[_T]]) -> _T:
    """Ask until there is an answer: the network is back, and the journal will be."""
    answers: list[_T] = []

    async def has_answered() -> bool:
        try:
            answers.append(await call())
        except (JournalError, PublishTimeout):
            return False
        return True

    await until(has_answered)
    return answers[0]
