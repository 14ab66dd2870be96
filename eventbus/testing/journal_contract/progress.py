"""Progress: what groups have finished, what died on the way, and the small values kept beside."""

from __future__ import annotations

import pytest

from eventbus.errors import IdConflict, OffsetGone
from eventbus.journal.protocol import Journal
from eventbus.journal.values import (
    RETAINED,
    TEXT_CAP,
    NewQuarantined,
    Settled,
    Status,
)
from eventbus.testing.journal_contract.items import item, items, letter
from eventbus.testing.journal_contract.opened import Make, Opened


class ProgressContract(Opened):
    """What every journal does for those who read it."""

    # --- groups -----------------------------------------------------------------------------------------------------

    async def test_a_new_group_starts_where_it_was_told(self, journal: Journal) -> None:
        await journal.append(items(1, 5))
        floors = [(await journal.open_group(str(start), start)).floor for start in ("beginning", "end", 3)]
        assert floors == [0, 5, 3]
        assert (await journal.open_group("beginning", "end")).floor == 0

    @pytest.mark.parametrize("start", [-1, 6])
    async def test_a_group_cannot_start_outside(self, journal: Journal, start: int) -> None:
        await journal.append(items(1, 5))
        with pytest.raises(ValueError, match="not in this journal"):
            await journal.open_group("g", start)
        assert await journal.committed("g") is None

    async def test_a_group_cannot_start_before_what_is_kept(self, journal: Journal) -> None:
        await journal.append(items(1, 3))
        await journal.append(items(4, 5))
        await journal.trim(before=4)
        with pytest.raises(OffsetGone):
            await journal.open_group("g", 2)
        assert (await journal.open_group("g", "beginning")).floor == 3

    async def test_the_floor_moves_over_contiguous_offsets_only(self, journal: Journal, make: Make) -> None:
        await journal.append(items(1, 6))
        await journal.open_group("g", "beginning")
        assert await journal.commit("g", [Settled(2), Settled(4), Settled(5)]) == 0
        assert await journal.commit("g", [Settled(1)]) == 2
        await journal.close()
        again = make()
        await again.open()
        cursor = await again.committed("g")
        assert cursor is not None
        assert (cursor.floor, cursor.settled) == (2, ((4, 5),))
        assert [cursor.is_settled(offset) for offset in range(1, 7)] == [True, True, False, True, True, False]
        assert await again.commit("g", [Settled(3)]) == 5
        await again.close()

    async def test_attempts_are_counted_before_they_start(self, journal: Journal, make: Make) -> None:
        await journal.append(items(1, 3))
        await journal.open_group("g", "beginning")
        assert await journal.record_attempts("g", [1, 2, 3]) == {1: 1, 2: 1, 3: 1}
        assert await journal.record_attempts("g", [2]) == {2: 2}
        assert await journal.record_attempts("g", []) == {}
        await journal.close()
        again = make()
        await again.open()
        cursor = await again.open_group("g")
        assert cursor.attempts == {1: 1, 2: 2, 3: 1}
        await again.commit("g", [Settled(2)])
        cursor = await again.open_group("g")
        assert cursor.attempts == {1: 1, 3: 1}
        await again.close()

    async def test_settling_twice_changes_nothing_and_is_counted(self, journal: Journal) -> None:
        await journal.append(items(1, 3))
        await journal.open_group("g", "beginning")
        await journal.commit("g", [Settled(1), Settled(3)])
        assert await journal.commit("g", [Settled(1), Settled(3)], dead=[letter(3)]) == 1
        cursor = await journal.committed("g")
        assert cursor is not None
        assert cursor.totals == {Status.SUCCEEDED: 2}
        assert journal.stats().stale_acks == 2
        assert await journal.count_dead_letters() == 0

    async def test_what_nobody_listens_to_is_skipped(self, journal: Journal) -> None:
        await journal.append(items(1, 9))
        await journal.open_group("g", "beginning")
        await journal.record_attempts("g", [5])
        assert await journal.commit("g", [Settled(3)], skip=[(1, 2), (4, 6), (8, 9)]) == 6
        cursor = await journal.committed("g")
        assert cursor is not None
        assert (cursor.settled, cursor.attempts, cursor.totals) == (((8, 9),), {}, {"succeeded": 1})

    async def test_what_is_not_there_cannot_be_settled(self, journal: Journal) -> None:
        await journal.append(items(1, 2))
        await journal.open_group("g", "beginning")
        for refused in (
            journal.commit("g", [Settled(1), Settled(3)]),
            journal.commit("g", skip=[(2, 3)]),
            journal.record_attempts("g", [3]),
            journal.commit("g", [Settled(1, status="fine")]),
        ):
            with pytest.raises(ValueError, match=r"not in this journal|is none of"):
                await refused
        cursor = await journal.committed("g")
        assert cursor is not None
        assert (cursor.floor, cursor.attempts) == (0, {})

    async def test_an_unknown_group_is_named(self, journal: Journal) -> None:
        with pytest.raises(LookupError, match="'nobody'"):
            await journal.commit("nobody", [])

    async def test_a_dropped_group_begins_anew(self, journal: Journal) -> None:
        await journal.append(items(1, 2))
        await journal.open_group("g", "beginning")
        await journal.commit("g", [Settled(1, ran_ns=5)])
        assert await journal.drop_group("g")
        assert not await journal.drop_group("g")
        assert (await journal.open_group("g", "beginning")).floor == 0
        assert await journal.commit("g", [Settled(1, ran_ns=7)]) == 1

    async def test_outcomes_are_kept_with_their_times(self, journal: Journal) -> None:
        await journal.append(items(1, 2))
        await journal.open_group("a", "beginning")
        await journal.open_group("b", "beginning")
        await journal.commit("a", [Settled(1, Status.EXPIRED, 2, 10, 20)])
        await journal.commit("b", [Settled(1), Settled(2)])
        assert await journal.outcomes([1]) == [("a", 1, "expired", 2, 10, 20), ("b", 1, "succeeded", 1, None, None)]

    # --- dead letters, quarantine, values ---------------------------------------------------------------------------

    async def test_a_dead_letter_is_kept_with_the_delivery_that_died(self, journal: Journal, make: Make) -> None:
        await journal.append(items(1, 2))
        await journal.open_group("g", "beginning")
        await journal.commit("g", [Settled(1, Status.DEAD_LETTERED, 3)], dead=[letter(1)])
        await journal.close()
        again = make()
        await again.open()
        (record,) = await again.dead_letters()
        assert record[1:-1] == letter(1)
        assert not record.redriven
        await again.close()

    async def test_dead_letters_are_listed_marked_and_purged(self, journal: Journal) -> None:
        ids = await journal.add_dead_letters([letter(None), letter(None, subscription="risk"), letter(None)])
        assert [record.id for record in await journal.dead_letters(subscription="ledger")] == [ids[0], ids[2]]
        assert [record.id for record in await journal.dead_letters(after=ids[0], limit=1)] == [ids[1]]
        assert await journal.mark_redriven([ids[0]]) == 1
        assert await journal.mark_redriven([ids[0], 999]) == 0
        assert await journal.count_dead_letters() == 2
        assert await journal.count_dead_letters(redriven=True) == 3
        assert await journal.purge_dead_letters([ids[1]]) == 1
        assert await journal.purge_dead_letters() == 2
        assert await journal.count_dead_letters(redriven=True) == 0

    async def test_long_texts_are_cut(self, journal: Journal) -> None:
        await journal.add_dead_letters([letter(None, error="é" * TEXT_CAP)])
        (record,) = await journal.dead_letters()
        assert record.error == "é" * (TEXT_CAP // 2)

    async def test_unreadable_bytes_are_quarantined(self, journal: Journal) -> None:
        await journal.append(items(1, 1))
        await journal.open_group("g", "beginning")
        await journal.commit("g", [Settled(1)], quarantined=[NewQuarantined(1, "unknown version", 5, b"\xff\0")])
        await journal.add_quarantined([NewQuarantined(None, "no event", 6, b"x")])
        first, second = await journal.quarantined()
        assert first[1:] == (1, "unknown version", 5, b"\xff\0")
        assert await journal.quarantined(after=first.id) == [second]

    async def test_values_are_set_replaced_and_removed(self, journal: Journal, make: Make) -> None:
        await journal.set_values("latch", {"halt": b"drawdown", "other": b"1"})
        await journal.set_values("latch", {"halt": b"by hand", "other": None, "missing": None})
        assert await journal.values("retained") == {}
        await journal.close()
        again = make()
        await again.open()
        assert await again.values("latch") == {"halt": b"by hand"}
        await again.close()

    async def test_a_retained_body_is_the_newest_accepted(self, journal: Journal) -> None:
        await journal.append([item(1, retain="risk"), item(2, retain="risk"), item(3, retain="mode")])
        with pytest.raises(IdConflict):
            await journal.append([item(4, retain="risk"), item(1, body=b"other")])
        assert await journal.values(RETAINED) == {"risk": b"body-2", "mode": b"body-3"}
