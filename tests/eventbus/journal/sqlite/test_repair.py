"""A damaged journal, opened on request: what is sound is kept in its place, what is lost is a tombstone there."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from eventbus.errors import JournalDamaged
from eventbus.journal.sqlite import SqliteJournal
from eventbus.journal.sqlite.repair import LOST_TYPE
from eventbus.journal.values import Settled
from eventbus.testing.journal_contract import item, items, letter, offsets


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A closed journal with nine records, a group at five, a dead letter and a value."""
    path = tmp_path / "run.db"
    async with SqliteJournal(path) as journal:
        for number in range(1, 10):
            await journal.append([item(number)])
        await journal.open_group("g", "beginning")
        await journal.record_attempts("g", [6])
        await journal.commit("g", [Settled(8)], skip=[(1, 5)])
        await journal.add_dead_letters([letter(None)])
        await journal.set_values("latch", {"halt": b"drawdown"})
    return path


def tamper(path: Path, statement: str) -> None:
    db = sqlite3.connect(path)
    db.execute(statement)
    db.commit()
    db.close()


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("UPDATE records SET body = x'00' WHERE offset = 4", 4),
        ("UPDATE records SET labels = json_set(labels, '$[4]', 0) WHERE offset = 4", 4),
        ("DELETE FROM records WHERE offset = 4", 4),
        ("DELETE FROM records WHERE offset = 1", 1),
        ("DELETE FROM records WHERE offset = 9", 9),
        ("UPDATE seals SET digest = zeroblob(32) WHERE last = 4", 4),
        ("DELETE FROM seals WHERE last > 6", 7),
        ("UPDATE groups SET floor = 7", None),
        ("DELETE FROM groups", None),
        ("DELETE FROM dead_letters", None),
        ("UPDATE small_values SET value = x'00'", None),
        ("DELETE FROM seals", None),
    ],
)
async def test_tampering_is_named(path: Path, statement: str, first_bad: int | None) -> None:
    tamper(path, statement)
    before = path.read_bytes()
    with pytest.raises(JournalDamaged) as damage:
        await SqliteJournal(path).open()
    assert damage.value.first_bad == first_bad
    assert path.read_bytes() == before


async def test_what_is_sound_is_kept_in_its_place(path: Path) -> None:
    tamper(path, "UPDATE records SET body = x'00' WHERE offset IN (4, 9)")
    async with SqliteJournal(path, allow_damaged=True) as journal:
        assert journal.damage is not None
        assert journal.damage.first_bad == 4
        records = await journal.read(0)
        assert offsets(records) == list(range(1, 10))
        assert [record.offset for record in records if record.type == LOST_TYPE] == [4, 9]
        cursor = await journal.committed("g")
        assert cursor is not None
        assert (cursor.floor, cursor.settled, cursor.attempts) == (5, ((8, 8),), {6: 1})
        assert await journal.count_dead_letters() == 1
        assert await journal.values("latch") == {"halt": b"drawdown"}
        (again,) = await journal.append([item(4)])
        assert again.offset == 10


@pytest.mark.parametrize("noise", [b'"zzzzzz', b'"\xff\xff\xff\xff\xff\xff'], ids=["text", "no text"])
async def test_a_table_whose_definition_is_damaged_costs_no_other(path: Path, noise: bytes) -> None:
    """SQLite reads none of them then, unless it is told to."""
    raw = path.read_bytes()
    at = raw.index(b"(", raw.index(b"CREATE TABLE outcomes")) + 1
    path.write_bytes(raw[:at] + noise + raw[at + len(noise) :])
    async with SqliteJournal(path, allow_damaged=True) as journal:
        assert journal.damage is not None
        assert [record.type for record in await journal.read(0) if record.type == LOST_TYPE] == []
        assert offsets(await journal.read(0)) == list(range(1, 10))
        assert await journal.count_dead_letters() == 1


async def test_offsets_that_were_given_are_not_given_again(path: Path) -> None:
    tamper(path, "DELETE FROM records WHERE offset > 6")
    async with SqliteJournal(path, allow_damaged=True) as journal:
        assert journal.last == 9
        assert (await journal.append([item(10)]))[0].offset == 10


async def test_what_retention_removed_was_not_lost(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.trim(before=4)
    tamper(path, "DELETE FROM records WHERE offset = 6")
    async with SqliteJournal(path, allow_damaged=True) as journal:
        assert (journal.first, journal.last) == (4, 9)
        assert [record.offset for record in await journal.read(3) if record.type == LOST_TYPE] == [6]


@pytest.mark.parametrize("what", ["emptied", "missing", "not a database"])
async def test_a_file_of_which_nothing_is_left_goes_on_after_its_mark(path: Path, what: str) -> None:
    match what:
        case "emptied":
            path.write_bytes(b"")
        case "missing":
            path.unlink()
        case _:
            path.write_bytes(b"x" * 9_000)
    with pytest.raises(JournalDamaged):
        await SqliteJournal(path).open()
    async with SqliteJournal(path, allow_damaged=True) as journal:
        assert (journal.first, journal.last) == (10, 9)
        assert (await journal.append(items(1, 1)))[0].offset == 10
    async with SqliteJournal(path) as journal:
        assert journal.last == 10


async def test_each_repair_keeps_a_copy_of_its_own(path: Path) -> None:
    for number in (1, 2):
        tamper(path, f"DELETE FROM records WHERE offset = {number}")
        before = path.read_bytes()
        async with SqliteJournal(path, allow_damaged=True):
            pass
        assert path.with_name(f"run.db.damaged-{number}").read_bytes() == before


async def test_a_sound_journal_is_not_repaired(path: Path) -> None:
    async with SqliteJournal(path, allow_damaged=True) as journal:
        assert journal.damage is None
    assert not path.with_name("run.db.damaged-1").exists()
