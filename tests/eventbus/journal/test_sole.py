"""A journal of one process answers the questions of several: nothing is held by others, and what it says of a part stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventbus import LeaseLost, ValueChanged
from eventbus.journal.hearing import Hearing
from eventbus.journal.shared import Lease, Part
from eventbus.journal.sole import SoleProcess, sharing_of
from eventbus.journal.sqlite import SqliteJournal
from eventbus.journal.values import Settled, Status
from eventbus.testing.journal_contract import items, letter


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    async with SqliteJournal(tmp_path / "run.db") as journal:
        yield journal


@pytest.fixture
async def sole(journal: SqliteJournal) -> SoleProcess:
    sole = SoleProcess(journal)
    await sole.join("me", 10)
    return sole


async def test_it_is_the_only_member(sole: SoleProcess) -> None:
    assert await sole.members() == {"me": 0.0}


async def test_every_lease_is_had_and_kept(sole: SoleProcess) -> None:
    leases = await sole.acquire(["ledger/0", "trim"])
    assert list(leases) == ["ledger/0", "trim"]
    assert list(await sole.renew([*leases.values()])) == [*leases.values()]
    assert leases["trim"].local_ttl == float("inf")


async def test_a_released_lease_is_lost_until_it_is_acquired(sole: SoleProcess) -> None:
    lease = (await sole.acquire(["ledger/0"]))["ledger/0"]
    await sole.release([lease])
    assert await sole.renew([lease]) == []
    with pytest.raises(LeaseLost, match="ledger/0"):
        await sole.open_part(lease, "end")
    with pytest.raises(LeaseLost):
        await sole.record_part_attempts(lease, [1])
    (answer,) = await sole.commit_parts([Part(lease)])
    assert isinstance(answer, LeaseLost)


async def test_the_next_process_has_a_greater_token(tmp_path: Path) -> None:
    tokens = []
    for _ in range(3):
        async with SqliteJournal(tmp_path / "run.db") as journal:
            tokens.append((await SoleProcess(journal).acquire(["a/0"]))["a/0"].token)
    assert tokens == [1, 2, 3]


async def test_the_only_part_of_a_group_is_the_group(sole: SoleProcess, journal: SqliteJournal) -> None:
    await journal.append(items(1, 3))
    lease = (await sole.acquire(["ledger/0"]))["ledger/0"]
    assert (await sole.open_part(lease, "beginning")).floor == 0
    assert await sole.record_part_attempts(lease, [1, 2]) == {1: 1, 2: 1}
    dead = Part(lease, [Settled(1), Settled(2, Status.DEAD_LETTERED)], dead=[letter(2)])
    assert await sole.commit_parts([dead]) == [2]
    cursor = await journal.committed("ledger")
    assert cursor is not None
    assert cursor.floor == 2
    assert await journal.count_dead_letters() == 1


async def test_a_part_under_a_strange_token_changes_nothing_and_the_others_stand(sole: SoleProcess) -> None:
    leases = await sole.acquire(["a/0", "b/0"])
    for lease in leases.values():
        await sole.open_part(lease, "end")
    stale = leases["a/0"]._replace(token=99)
    refused, floor = await sole.commit_parts([Part(stale), Part(leases["b/0"])])
    assert isinstance(refused, LeaseLost)
    assert floor == 0


async def test_a_value_is_changed_by_who_knows_its_version(sole: SoleProcess, journal: SqliteJournal) -> None:
    first = await sole.put_if("latch", "halt", b"a", 0)
    second = await sole.put_if("latch", "halt", b"b", first)
    with pytest.raises(ValueChanged) as changed:
        await sole.put_if("latch", "halt", b"c", first)
    assert (changed.value.version, changed.value.value) == (second, b"b")
    removed = await sole.put_if("latch", "halt", None, second)
    assert await journal.values("latch") == {}
    with pytest.raises(ValueChanged):
        await sole.put_if("latch", "halt", b"d", 0)
    assert await sole.put_if("latch", "halt", b"d", removed) > removed


async def test_one_of_two_who_change_a_value_at_once_wins(sole: SoleProcess) -> None:
    answers = await asyncio.gather(*(sole.put_if("s", "n", b"%d" % me, 0) for me in range(5)), return_exceptions=True)
    assert sum(isinstance(answer, int) for answer in answers) == 1
    assert sum(isinstance(answer, ValueChanged) for answer in answers) == 4


async def test_what_is_told_is_heard_until_the_end(sole: SoleProcess) -> None:
    await sole.tell("control", b"early")
    one, other, elsewhere = sole.listen("control"), sole.listen("control"), sole.listen("replies")
    await sole.tell("control", b"halt")
    assert [await anext(one), await anext(other)] == [b"halt", b"halt"]
    waiting = asyncio.ensure_future(anext(elsewhere))
    sole.close()
    with pytest.raises(StopAsyncIteration):
        await waiting
    assert [body async for body in one] == []


async def test_who_never_listens_loses_the_oldest() -> None:
    hearing = Hearing(most=2)
    for body in (b"1", b"2", b"3"):
        hearing.hear(body)
    hearing.end()
    assert [body async for body in hearing] == [b"2", b"3"]


async def test_a_journal_that_is_not_shared_is_of_one_process(journal: SqliteJournal) -> None:
    assert isinstance(sharing_of(journal), SoleProcess)
    assert Lease("a/0", 1, 1.0) not in await sharing_of(journal).renew([])
