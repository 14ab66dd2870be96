"""Records: appended once, read back as they were, found, waited for, and removed in the end."""

from __future__ import annotations

import asyncio

import pytest

from eventbus.errors import IdConflict, JournalUnavailable, OffsetGone
from eventbus.journal.protocol import Journal
from eventbus.journal.values import (
    Append,
    Appended,
    Record,
    Settled,
)
from eventbus.testing.journal_contract.items import item, items, offsets
from eventbus.testing.journal_contract.opened import Make, Opened


class RecordContract(Opened):
    """What every journal does with records."""

    # --- records ----------------------------------------------------------------------------------------------------

    async def test_what_was_appended_is_read_back_in_order(self, journal: Journal) -> None:
        batch = items(1, 5)
        assert await journal.append(batch) == [Appended(offset) for offset in range(1, 6)]
        assert await journal.read(0) == [Record(at, *each[:-1]) for at, each in enumerate(batch, start=1)]
        assert (journal.first, journal.last) == (1, 5)

    async def test_offsets_have_no_holes(self, journal: Journal) -> None:
        answers = await asyncio.gather(*(journal.append([item(number)]) for number in range(50)))
        assert sorted(answer.offset for (answer,) in answers) == list(range(1, 51))
        assert offsets(await journal.read(0)) == list(range(1, 51))

    async def test_any_text_and_any_bytes_come_back_as_they_were(self, journal: Journal) -> None:
        odd = Append("ä\0\u2028", "typ.é", 2**31, "", "", -1, "", "None", bytes(range(256)) * 20)
        await journal.append([odd, item(1, body=b"")])
        first, second = await journal.read(0)
        assert first[1:] == odd[:-1]
        assert second.body == b""

    async def test_an_empty_batch_is_answered(self, journal: Journal) -> None:
        assert await journal.append([]) == []
        assert journal.last == 0

    async def test_a_batch_larger_than_a_commit_is_kept_whole(self, journal: Journal) -> None:
        await journal.append(items(1, 12_345))
        assert journal.last == 12_345
        assert offsets(await journal.read(12_340)) == [12_341, 12_342, 12_343, 12_344, 12_345]

    async def test_a_known_id_with_the_same_body_is_a_duplicate(self, journal: Journal) -> None:
        await journal.append(items(1, 2))
        assert await journal.append(items(2, 3)) == [Appended(2, duplicate=True), Appended(3)]
        assert offsets(await journal.read(0)) == [1, 2, 3]

    async def test_a_duplicate_within_a_batch_is_one_record(self, journal: Journal) -> None:
        assert await journal.append([item(1), item(1), item(2)]) == [Appended(1), Appended(1, True), Appended(2)]
        assert journal.last == 2

    @pytest.mark.parametrize("other", [item(1, body=b"other"), item(1, type="other.type")])
    async def test_a_known_id_with_another_body_is_refused(self, journal: Journal, other: Append) -> None:
        await journal.append([item(1)])
        with pytest.raises(IdConflict) as refusal:
            await journal.append([item(2), other, item(3)])
        assert refusal.value.event_id == "event-000001"
        assert offsets(await journal.read(0)) == [1]

    async def test_one_refusal_leaves_the_other_publishers_alone(self, journal: Journal) -> None:
        await journal.append([item(1)])
        batches = [[item(2)], [item(1, body=b"other")], [item(1)], [item(3), item(4)]]
        answers = await asyncio.gather(*(journal.append(batch) for batch in batches), return_exceptions=True)
        assert answers[0] == [Appended(2)]
        assert isinstance(answers[1], IdConflict)
        assert answers[2:] == [[Appended(1, duplicate=True)], [Appended(3), Appended(4)]]

    async def test_new_records_beside_a_duplicate_leave_a_sound_journal(self, journal: Journal, make: Make) -> None:
        await journal.append([item(1)])
        batches = [[item(2), item(3)], [item(1)], [item(4)], [item(5), item(1), item(6)]]
        await asyncio.gather(*map(journal.append, batches))
        assert (await journal.verify())[:3] == (1, 6, 6)
        await journal.close()
        again = make()
        await again.open()
        assert offsets(await again.read(0)) == [1, 2, 3, 4, 5, 6]
        await again.close()

    async def test_a_cancelled_append_is_settled_by_its_id(self, journal: Journal) -> None:
        publisher = asyncio.ensure_future(journal.append([item(1)]))
        publisher.cancel()
        await asyncio.gather(publisher, return_exceptions=True)
        (answer,) = await journal.append([item(1)])
        assert answer.offset == 1
        assert offsets(await journal.read(0)) == [1]

    async def test_records_survive_reopening(self, journal: Journal, make: Make) -> None:
        await journal.append(items(1, 3))
        before = await journal.read(0)
        await journal.close()
        again = make()
        await again.open()
        assert await again.read(0) == before
        assert await again.append(items(3, 4)) == [Appended(3, duplicate=True), Appended(4)]
        await again.close()

    # --- reading ----------------------------------------------------------------------------------------------------

    async def test_reading_has_a_beginning_an_end_and_a_limit(self, journal: Journal) -> None:
        await journal.append(items(1, 9))
        assert offsets(await journal.read(2, 3)) == [3, 4, 5]
        assert offsets(await journal.read(2, until=4)) == [3, 4]
        assert await journal.read(9) == []

    @pytest.mark.parametrize(
        ("types", "found"),
        [
            (["trade.executed"], [1, 4]),
            (["trade.*"], [1, 2, 4]),
            (["*"], [1, 2, 3, 4]),
            (["Trade.*"], []),
            (["health.*", "trade.denied"], [2, 3]),
            (["[!t]*"], [3]),
            ([], []),
        ],
    )
    async def test_types_are_names_or_wildcards(self, journal: Journal, types: list[str], found: list[int]) -> None:
        names = ["trade.executed", "trade.denied", "health.changed", "trade.executed"]
        await journal.append([item(number, type=name) for number, name in enumerate(names)])
        assert offsets(await journal.read(0, types=types)) == found

    async def test_bodies_are_those_of_the_records(self, journal: Journal) -> None:
        await journal.append(items(1, 4))
        await journal.append(items(5, 9))
        assert await journal.bodies(0) == [(record.offset, record.body) for record in await journal.read(0)]
        assert [offset for offset, _ in await journal.bodies(2, 3, until=4)] == [3, 4]
        await journal.trim(before=5)
        with pytest.raises(OffsetGone):
            await journal.bodies(0)

    async def test_a_record_is_found_by_its_id(self, journal: Journal) -> None:
        await journal.append(items(1, 3))
        found = await journal.find("event-000002")
        assert found is not None
        assert found.offset == 2
        assert await journal.find("event-000009") is None

    async def test_a_causal_tree_is_found_by_its_root(self, journal: Journal) -> None:
        await journal.append([item(1), item(2), item(3, root=2), item(4, root=1), item(5, root=2)])
        assert offsets(await journal.related("event-000002")) == [2, 3, 5]
        assert await journal.related("nothing") == []

    async def test_a_time_is_found_by_its_label(self, journal: Journal) -> None:
        await journal.append([item(1, time_ns=100), item(2, time_ns=300), item(3, time_ns=200)])
        assert [await journal.seek(time_ns) for time_ns in (0, 100, 101, 301)] == [0, 0, 1, 3]

    async def test_waiting_ends_when_there_is_more(self, journal: Journal) -> None:
        waiting = asyncio.ensure_future(journal.wait(1))
        await journal.append([item(1)])
        assert not waiting.done()
        await journal.append([item(2)])
        assert await waiting
        assert await journal.wait(0)

    async def test_waiting_ends_at_its_timeout(self, journal: Journal) -> None:
        assert not await journal.wait(0, timeout=0.01)

    async def test_waiting_ends_when_the_journal_closes(self, journal: Journal) -> None:
        waiting = asyncio.ensure_future(journal.wait(0))
        await asyncio.gather(journal.close(), waiting)
        assert waiting.result() is False

    async def test_a_closed_journal_says_so(self, journal: Journal) -> None:
        await journal.close()
        await journal.close()
        with pytest.raises(JournalUnavailable, match="not open"):
            await journal.append([item(1)])

    # --- retention --------------------------------------------------------------------------------------------------

    async def test_retention_removes_by_offset_and_by_age(self, journal: Journal) -> None:
        for number in range(1, 10):
            await journal.append([item(number)])
        assert (await journal.trim(before=3))[:2] == (2, 3)
        assert (await journal.trim(before_ns=6_000))[:2] == (3, 6)
        assert offsets(await journal.read(5)) == [6, 7, 8, 9]
        assert (await journal.verify())[:3] == (6, 9, 4)

    async def test_retention_removes_by_size(self, journal: Journal) -> None:
        for number in range(200):
            await journal.append([item(number, body=bytes(4_000))])
        trimmed = await journal.trim(max_bytes=400_000)
        assert 80 < trimmed.removed < 160
        assert journal.first == trimmed.first == trimmed.removed + 1

    async def test_retention_stops_below_the_slowest_group(self, journal: Journal) -> None:
        for number in range(1, 6):
            await journal.append([item(number)])
        await journal.open_group("slow", "beginning")
        await journal.commit("slow", [Settled(1), Settled(2), Settled(4)])
        assert await journal.trim(before=6) == (2, 3, ())

    async def test_a_group_that_was_overtaken_is_told(self, journal: Journal) -> None:
        for number in range(1, 6):
            await journal.append([item(number)])
        await journal.open_group("slow", 1)
        assert await journal.trim(before=4, force=True) == (3, 4, ("slow",))
        with pytest.raises(OffsetGone) as gone:
            await journal.read(1)
        assert (gone.value.offset, gone.value.oldest) == (2, 4)

    async def test_everything_may_be_removed(self, journal: Journal, make: Make) -> None:
        await journal.append(items(1, 5))
        assert await journal.trim(before=99) == (5, 6, ())
        await journal.close()
        again = make()
        await again.open()
        assert (again.first, again.last) == (6, 5)
        assert await again.append([item(1)]) == [Appended(6)]
        await again.close()

    async def test_compacting_keeps_what_is_there(self, journal: Journal) -> None:
        for number in range(1, 10):
            await journal.append([item(number)])
        await journal.trim(before=5)
        assert await journal.compact() > 0
        assert offsets(await journal.read(4)) == [5, 6, 7, 8, 9]
        await journal.append([item(10)])
        assert (await journal.verify()).records == 6

    async def test_verifying_reads_everything(self, journal: Journal) -> None:
        await journal.append(items(1, 3))
        verified = await journal.verify()
        assert verified[:3] == (1, 3, 3)
        await journal.append(items(4, 4))
        assert (await journal.verify()).digest != verified.digest
