"""Leases: one owner at a time by the clock of the server, a token that only grows, and nothing that a former owner can change."""

from __future__ import annotations

import asyncio
import time

import pytest

from eventbus.errors import LeaseLost
from eventbus.journal.shared import Lease, Part, SharedJournal
from eventbus.journal.values import Settled
from eventbus.testing.journal_contract.items import items, letter
from eventbus.testing.shared_contract.opened import BRIEF, LONG, MakeShared, Shared, Two, joined, until


class LeaseContract(Shared):
    """What every shared journal does about who does what."""

    async def test_a_lease_has_one_owner(self, two: Two) -> None:
        names = [f"ledger/{part}" for part in range(8)]
        taken = await asyncio.gather(*(journal.acquire(names) for journal in two for _ in range(3)))
        owners = [{name for each in taken[at : at + 3] for name in each} for at in (0, 3)]
        assert owners[0] & owners[1] == set()
        assert owners[0] | owners[1] == {*names}

    async def test_what_is_mine_is_acquired_again_under_its_token(self, two: Two) -> None:
        first = await two[0].acquire(["trim", "ledger/0"])
        assert await two[0].acquire(["ledger/0", "trim"]) == first
        assert await two[1].acquire(["trim"]) == {}
        assert {lease.ttl for lease in first.values()} == {LONG}

    async def test_a_lease_that_is_renewed_stays(self, brief: Two) -> None:
        now = asyncio.get_running_loop().time
        since = asked = now()
        lease = await taken_over(brief[0], "ledger/0")
        while asked < since + 2 * BRIEF:
            renewed_after, asked = asked, now()
            renewed, others = await brief[0].renew([lease]), await brief[1].acquire(["ledger/0"])
            if now() - renewed_after < BRIEF:
                assert (renewed, others) == ([lease], {})
            else:  # the machine stood still for so long that it was right to run out: from the beginning
                await brief[1].release([*others.values()])
                since = asked = now()
                lease = await taken_over(brief[0], "ledger/0")
            await asyncio.sleep(BRIEF / 6)

    async def test_a_lease_that_ran_out_is_had_by_others_under_a_greater_token(self, brief: Two) -> None:
        mine = (await brief[0].acquire(["ledger/0"]))["ledger/0"]
        theirs = await taken_over(brief[1], "ledger/0")
        assert theirs.token > mine.token
        assert await brief[0].renew([mine]) == []
        assert await brief[0].acquire(["ledger/0"]) == {}
        await brief[0].release([mine])
        assert await brief[0].acquire(["ledger/0"]) == {}
        assert await brief[1].renew([theirs]) == [theirs]

    async def test_a_released_lease_is_free_at_once(self, two: Two) -> None:
        mine = (await two[0].acquire(["ledger/0", "ledger/1"]))["ledger/0"]
        await two[0].release([mine])
        assert await two[0].renew([mine]) == []
        theirs = (await two[1].acquire(["ledger/0", "ledger/1"]))["ledger/0"]
        assert theirs.token > mine.token
        assert list(await two[1].acquire(["ledger/1"])) == []

    async def test_who_leaves_in_order_leaves_no_lease(self, two: Two, make: MakeShared) -> None:
        async with joined(make) as third:
            assert await third.acquire(["ledger/0"])
        assert await two[0].acquire(["ledger/0"])

    async def test_members_are_known_by_their_heartbeat(self, two: Two, make: MakeShared) -> None:
        async with joined(make):
            silent = await two[0].members()
            assert len(silent) == 3

            async def has_beaten() -> bool:
                await two[0].renew([])
                ages = sorted((await two[1].members()).values())
                return ages[0] < 0.5 < ages[-1]

            await until(has_beaten)
        assert len(await two[0].members()) == 2

    async def test_no_wall_clock_of_a_client_moves_a_lease(self, two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
        await two[0].acquire(["ledger/0"])
        for jump in (1e6, -1e6):
            now = time.time() + jump
            monkeypatch.setattr(time, "time", lambda now=now: now)
            assert await two[1].acquire(["ledger/0"]) == {}

    # --- the fence ---------------------------------------------------------------------------------------------------

    async def test_a_former_owner_changes_nothing(self, brief: Two) -> None:
        lease = await opened(brief[0], 5, done=1)
        theirs = await taken_over(brief[1], "ledger/0")
        cursor = await brief[1].open_part(theirs, "end")
        assert cursor.floor == 1
        stale = brief[0].stats().stale_acks
        (answer,) = await brief[0].commit_parts([Part(lease, [Settled(2), Settled(3)], dead=[letter(3)])])
        assert isinstance(answer, LeaseLost)
        assert (answer.name, answer.token) == ("ledger/0", lease.token)
        with pytest.raises(LeaseLost):
            await brief[0].record_part_attempts(lease, [2])
        with pytest.raises(LeaseLost):
            await brief[0].open_part(lease, "end")
        assert await brief[1].committed("ledger/0") == cursor
        assert await brief[1].count_dead_letters() == 0
        assert brief[0].stats().stale_acks == stale + 1

    async def test_a_token_is_refused_after_it_ran_out_though_nobody_has_it(self, brief: Two) -> None:
        lease = await opened(brief[0], 2)

        async def is_refused() -> bool:
            (answer,) = await brief[0].commit_parts([Part(lease, [Settled(1)])])
            return isinstance(answer, LeaseLost)

        await until(is_refused)
        with pytest.raises(LeaseLost):
            await brief[0].record_part_attempts(lease, [2])

    async def test_a_released_lease_commits_nothing(self, two: Two) -> None:
        lease = await opened(two[0], 2)
        await two[0].release([lease])
        (answer,) = await two[0].commit_parts([Part(lease, [Settled(1)])])
        assert isinstance(answer, LeaseLost)

    async def test_nothing_changes_once_the_next_owner_has_looked(self, brief: Two) -> None:
        """The lease is held until the commit is made: looking first and writing then is not enough."""
        await brief[0].append(items(1, 1_000))
        for turn in range(3):
            mine = await begun(brief[0], f"ledger/{turn}")
            committing = asyncio.ensure_future(_commit_until_refused(brief[0], mine))
            theirs = await taken_over(brief[1], mine.name)
            seen = await brief[1].open_part(theirs, "end")
            told = await committing
            assert await brief[1].committed(mine.name) == seen
            assert told == seen.floor  # what was told to be committed is, and nothing else

    async def test_other_parts_of_a_call_stand(self, two: Two) -> None:
        await two[0].append(items(1, 5))
        leases = [*(await two[0].acquire(["a/0", "a/1", "a/2"])).values()]
        for lease in leases:
            await two[0].open_part(lease, "beginning")
        await two[0].release(leases[1:2])
        answers = await two[0].commit_parts([Part(lease, [Settled(1)], dead=[letter(1)]) for lease in leases])
        assert [answer for answer in answers if isinstance(answer, int)] == [1, 1]
        assert isinstance(answers[1], LeaseLost)
        assert await two[0].count_dead_letters() == 2


async def opened(journal: SharedJournal, records: int, *, done: int = 0) -> Lease:
    """The lease of a part of so many records, of which so many are done."""
    await journal.append(items(1, records))
    return await begun(journal, "ledger/0", done=done)


async def begun(journal: SharedJournal, name: str, *, done: int = 0) -> Lease:
    """The lease of a part that is open. A brief one may run out before that much is done: then it is taken again."""
    begun_leases: list[Lease] = []

    async def is_begun() -> bool:
        lease = (await journal.acquire([name]))[name]
        try:
            await journal.open_part(lease, "beginning")
        except LeaseLost:
            return False
        if done:
            (answer,) = await journal.commit_parts([Part(lease, [Settled(each) for each in range(1, done + 1)])])
            if isinstance(answer, LeaseLost):
                return False
        begun_leases.append(lease)
        return True

    await until(is_begun)
    return begun_leases[0]


async def taken_over(journal: SharedJournal, name: str) -> Lease:
    """The lease, as soon as another owner lost it."""
    taken: dict[str, Lease] = {}

    async def is_mine() -> bool:
        taken.update(await journal.acquire([name]))
        return bool(taken)

    await until(is_mine)
    return taken[name]


async def _commit_until_refused(journal: SharedJournal, lease: Lease) -> int:
    """Commit one after the other; gives the last floor that was told."""
    floor = 0
    for offset in range(1, 1_001):
        (answer,) = await journal.commit_parts([Part(lease, [Settled(offset)])])
        if isinstance(answer, LeaseLost):
            break
        floor = answer
    return floor
