"""Records: several write at once and nobody sees a hole, each id is there once, and what others append is seen."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from itertools import chain

import pytest

from eventbus.errors import IdConflict, OffsetGone, ValueChanged
from eventbus.journal.shared import SharedJournal
from eventbus.journal.values import RETAINED, Append
from eventbus.testing.journal_contract.items import item, items, letter, offsets
from eventbus.testing.shared_contract.opened import PATIENCE_S, MakeShared, Shared, Two, joined, until


class SharedRecordContract(Shared):
    """What every shared journal does with records and values. `appends` is how many are retried now and then."""

    appends = 300

    async def test_it_says_that_it_is_shared(self, two: Two) -> None:
        assert {"shared", "groups", "durable", "replay"} <= two[0].capabilities

    @pytest.mark.parametrize("writers", [2, 4])
    async def test_the_records_of_several_writers_are_dense(self, make: MakeShared, writers: int) -> None:
        async def write(journal: SharedJournal, me: int) -> list[list[int]]:
            batches = [items(me * 10_000 + at * 10, me * 10_000 + at * 10 + at % 7) for at in range(20)]
            return [offsets(await journal.append(batch)) for batch in batches]

        journals = [make() for _ in range(writers)]
        await asyncio.gather(*(journal.open() for journal in journals))
        told = await asyncio.gather(*(write(journal, me) for me, journal in enumerate(journals)))
        flat = sorted(chain.from_iterable(chain.from_iterable(told)))
        assert flat == [*range(1, len(flat) + 1)]
        for batches in told:
            assert [*chain.from_iterable(batches)] == sorted(
                chain.from_iterable(batches)
            )  # in the order they were asked
            assert all(batch == [*range(batch[0], batch[0] + len(batch))] for batch in batches)
        for journal in journals:
            assert offsets(await journal.read(0, 10_000)) == flat
            await journal.close()

    async def test_no_reader_sees_a_hole_while_others_write(self, two: Two, make: MakeShared) -> None:
        async def write(journal: SharedJournal, me: int) -> None:
            for at in range(50):
                await journal.append(items(me * 1_000 + at * 2, me * 1_000 + at * 2 + 1))

        async def follow(journal: SharedJournal) -> None:
            at = 0
            while at < 200:
                await journal.wait(at, timeout=1)
                page = offsets(await journal.read(at))
                assert page == [*range(at + 1, at + len(page) + 1)]
                at += len(page)

        async with joined(make) as reader:
            await asyncio.gather(write(two[0], 1), write(two[1], 2), follow(reader))

    async def test_each_id_is_there_once_however_often_it_is_appended(self, two: Two) -> None:
        async def write(me: int) -> None:
            for number in range(me, self.appends, 2):
                await two[me].append([item(number)])
                if number % 7 == 0:
                    await two[1 - me].append([item(number)])

        await asyncio.gather(write(0), write(1))
        ids = Counter(record.event_id for record in await two[0].read(0, 2 * self.appends))
        assert ids == Counter(item(number).event_id for number in range(self.appends))

    async def test_one_of_two_bodies_under_one_id_is_refused(self, two: Two) -> None:
        answers = await asyncio.gather(
            two[0].append([item(1, body=b"one")]), two[1].append([item(1, body=b"other")]), return_exceptions=True
        )
        assert sum(isinstance(answer, IdConflict) for answer in answers) == 1
        assert two[0].last <= 1

    async def test_what_others_append_is_seen(self, two: Two) -> None:
        here, there = two
        waiting = asyncio.ensure_future(here.wait(0, timeout=PATIENCE_S))
        await there.append(items(1, 3))
        assert await waiting
        assert here.last == 3
        assert offsets(await here.read(0)) == [1, 2, 3]

    async def test_the_log_is_known_by_one_name(self, two: Two, make: MakeShared) -> None:
        async with make() as third:
            assert {journal.epoch for journal in (*two, third)} == {two[0].epoch}
        assert two[0].epoch

    async def test_a_new_process_knows_where_the_log_ends(self, two: Two, make: MakeShared) -> None:
        await two[0].append(items(1, 5))
        async with make() as third:
            assert (third.first, third.last) == (1, 5)

    async def test_what_one_removes_is_gone_for_the_others(self, two: Two) -> None:
        here, there = two
        for number in range(1, 6):
            await there.append([item(number)])
        assert (await there.trim(before=4)).first == 4
        with pytest.raises(OffsetGone) as gone:
            await here.read(0)
        assert gone.value.oldest == 4

    async def test_the_retained_body_is_the_newest_of_all(self, two: Two) -> None:
        batches: list[tuple[SharedJournal, Append]] = [(two[n % 2], item(n, retain="risk")) for n in range(10)]
        for journal, each in batches:
            await journal.append([each])
        assert await two[0].values(RETAINED) == {"risk": item(9).body}

    # --- values ------------------------------------------------------------------------------------------------------

    async def test_one_of_two_who_change_a_value_at_once_wins(self, two: Two) -> None:
        version = 0
        for turn in range(10):
            answers = await asyncio.gather(
                *(journal.put_if("latch", "halt", b"%d" % turn, version) for journal in two), return_exceptions=True
            )
            (version,) = [answer for answer in answers if isinstance(answer, int)]
            (refusal,) = [answer for answer in answers if isinstance(answer, ValueChanged)]
            assert (refusal.version, refusal.value) == (version, b"%d" % turn)

    async def test_no_version_comes_twice(self, two: Two) -> None:
        versions = [await two[0].put_if("s", "n", b"1", 0)]
        versions.append(await two[1].put_if("s", "n", None, versions[-1]))
        assert await two[0].values("s") == {}
        with pytest.raises(ValueChanged):
            await two[0].put_if("s", "n", b"2", 0)
        versions.append(await two[0].put_if("s", "n", b"2", versions[-1]))
        await two[1].set_values("s", {"n": b"3"})
        with pytest.raises(ValueChanged) as changed:
            await two[0].put_if("s", "n", b"4", versions[-1])
        versions.append(changed.value.version)
        assert versions == sorted({*versions})
        assert changed.value.value == b"3"

    async def test_the_version_of_a_value_can_be_learnt(self, two: Two) -> None:
        for expected, value in ((0, None), (await two[1].put_if("s", "n", b"1", 0), b"1")):
            name = "n" if value else "nothing"
            with pytest.raises(ValueChanged) as changed:
                await two[0].put_if("s", name, b"x", -1)
            assert (changed.value.version, changed.value.value) == (expected, value)

    async def test_a_dead_letter_is_delivered_again_by_one(self, two: Two) -> None:
        ids = await two[0].add_dead_letters([letter(None) for _ in range(5)])
        counts = await asyncio.gather(*(journal.mark_redriven([id_]) for id_ in ids for journal in two))
        assert sum(counts) == 5

    # --- hints -------------------------------------------------------------------------------------------------------

    async def test_what_is_told_is_heard_by_all_who_listen(self, two: Two) -> None:
        bodies = [b"", b"\0\xff", "é".encode(), bytes(100_000)]
        ears = [journal.listen("control") for journal in two]
        elsewhere = two[1].listen("replies")

        async def heard() -> bool:  # a journal may need a moment to begin to listen
            await two[0].tell("control", b"are you there?")
            return all(await asyncio.gather(*(_hears(ear) for ear in ears)))

        await until(heard)
        for body in bodies:
            await two[0].tell("control", body)
        for ear in ears:
            told: list[bytes] = []
            async with asyncio.timeout(PATIENCE_S):
                while len(told) < len(bodies):
                    body = await anext(ear)
                    told += [] if body == b"are you there?" else [body]
            assert told == bodies
        await two[1].close()
        assert [body async for body in elsewhere] == []


async def _hears(ear: AsyncIterator[bytes]) -> bool:
    try:
        async with asyncio.timeout(1):
            await anext(ear)
    except TimeoutError:
        return False
    return True
