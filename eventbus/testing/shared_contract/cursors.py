"""Cursors: what one owner of a part has finished and begun, the next one goes on from."""

from __future__ import annotations

import asyncio

import pytest

from eventbus.errors import OffsetGone
from eventbus.journal.shared import Part
from eventbus.journal.values import NewQuarantined, Settled, Start, Status
from eventbus.testing.journal_contract.items import item, items, letter
from eventbus.testing.shared_contract.leases import opened, taken_over
from eventbus.testing.shared_contract.opened import Shared, Two


class CursorContract(Shared):
    """What every shared journal does with the cursors of parts."""

    async def test_the_next_owner_goes_on_from_what_was_committed(self, two: Two) -> None:
        lease = await opened(two[0], 9)
        assert await two[0].record_part_attempts(lease, [1, 2, 3, 4]) == {1: 1, 2: 1, 3: 1, 4: 1}
        assert await two[0].commit_parts([Part(lease, [Settled(1), Settled(4)], skip=[(6, 9)])]) == [1]
        await two[0].release([lease])
        theirs = await taken_over(two[1], "ledger/0")
        cursor = await two[1].open_part(theirs, "end")
        assert (cursor.floor, cursor.settled, cursor.attempts) == (1, ((4, 4), (6, 9)), {2: 1, 3: 1})
        assert await two[1].record_part_attempts(theirs, [2]) == {2: 2}
        assert await two[1].commit_parts([Part(theirs, [Settled(2), Settled(3), Settled(5)])]) == [9]

    async def test_a_new_part_starts_where_it_was_told(self, two: Two) -> None:
        await two[0].append(items(1, 3))
        leases = await two[0].acquire(["g/0", "g/1", "g/2"])
        starts: tuple[Start, ...] = ("beginning", "end", 2)
        floors = [(await two[0].open_part(leases[f"g/{at}"], start)).floor for at, start in enumerate(starts)]
        assert floors == [0, 3, 2]
        assert (await two[0].open_part(leases["g/0"], "end")).floor == 0
        assert await two[1].committed("g/3") is None

    async def test_a_part_cannot_start_before_what_is_kept(self, two: Two) -> None:
        for number in range(1, 5):
            await two[0].append([item(number)])
        await two[0].trim(before=4)
        lease = (await two[0].acquire(["g/0"]))["g/0"]
        with pytest.raises(OffsetGone):
            await two[0].open_part(lease, 1)

    async def test_retention_stops_below_the_slowest_part(self, two: Two) -> None:
        for number in range(1, 6):
            await two[0].append([item(number)])
        leases = await two[0].acquire(["g/0", "g/1"])
        for lease in leases.values():
            await two[0].open_part(lease, "beginning")
        await two[0].commit_parts([Part(leases["g/0"], skip=[(1, 5)]), Part(leases["g/1"], [Settled(1), Settled(2)])])
        assert (await two[1].trim(before=6))[:2] == (2, 3)

    async def test_the_same_commit_again_changes_nothing(self, two: Two) -> None:
        lease = await opened(two[0], 3)
        part = Part(
            lease,
            [Settled(1), Settled(2, Status.DEAD_LETTERED, 3), Settled(3, Status.DROPPED, 0)],
            dead=[letter(2)],
            quarantined=[NewQuarantined(3, "unknown version", 5, b"\xff")],
        )
        for _ in range(2):
            assert await two[0].commit_parts([part]) == [3]
        cursor = await two[1].committed("ledger/0")
        assert cursor is not None
        assert sum(cursor.totals.values()) == 3
        assert await two[1].count_dead_letters() == 1
        assert len(await two[1].quarantined()) == 1

    async def test_outcomes_are_of_the_group_whatever_the_part(self, two: Two) -> None:
        lease = await opened(two[0], 2)
        await two[0].commit_parts([Part(lease, [Settled(1, Status.SUCCEEDED, 2, 10, 20)])])
        assert await two[1].outcomes([1]) == [("ledger", 1, "succeeded", 2, 10, 20)]

    async def test_commits_and_attempts_of_many_parts_at_once_are_all_kept(self, two: Two) -> None:
        await two[0].append(items(1, 64))
        leases = [*(await two[0].acquire([f"g/{part}" for part in range(16)])).values()]
        await asyncio.gather(*(two[0].open_part(lease, "beginning") for lease in leases))

        async def work(at: int) -> None:
            for offset in range(1, 9):
                assert await two[0].record_part_attempts(leases[at], [offset]) == {offset: 1}
                assert await two[0].commit_parts([Part(leases[at], [Settled(offset)])]) == [offset]

        await asyncio.gather(*map(work, range(16)))
        for lease in leases:
            cursor = await two[1].committed(lease.name)
            assert cursor is not None
            assert (cursor.floor, cursor.attempts, dict(cursor.totals)) == (8, {}, {"succeeded": 8})
