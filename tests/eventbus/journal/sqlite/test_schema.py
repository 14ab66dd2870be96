"""A journal file knows its version, and every version can be brought to the newest."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventbus.journal.sqlite import SqliteJournal
from eventbus.journal.sqlite import schema as sqlite_schema
from eventbus.journal.sqlite.schema import MIGRATIONS, connect, version_of
from eventbus.testing.journal_contract import items, offsets


async def test_an_older_file_is_brought_to_the_newest_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.db"
    async with SqliteJournal(path) as journal:
        await journal.append(items(1, 3))
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE extra (x INTEGER) STRICT",)))
    async with SqliteJournal(path) as journal:
        assert offsets(await journal.read(0)) == [1, 2, 3]
        assert len(await journal.append(items(4, 4))) == 1
    db = connect(path, True)
    assert version_of(db, path) == len(MIGRATIONS) + 1
    assert db.execute("SELECT count(*) FROM extra").fetchone() == (0,)
    db.close()


async def test_a_migration_that_is_cut_short_never_happened(tmp_path: Path) -> None:
    path = tmp_path / "run.db"

    def fail(point: str) -> None:
        if point == "migrating":
            raise MemoryError

    with pytest.raises(MemoryError):
        await SqliteJournal(path, probe=fail).open()
    async with SqliteJournal(path) as journal:
        assert len(await journal.append(items(1, 1))) == 1


async def test_compacting_gives_room_back(tmp_path: Path) -> None:
    async with SqliteJournal(tmp_path / "run.db") as journal:
        for number in range(0, 2_000, 100):
            await journal.append(items(number, number + 99))
        before = await journal.compact()
        await journal.trim(before=1_901)
        assert await journal.compact() < before / 2
        assert (await journal.verify()).records == 100
