"""Opening a journal to look at it: by its URL or by the name of its file, whatever keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventbus import JournalUnavailable, UnknownBackend, open_reader
from eventbus.journal.sqlite import SqliteJournal
from eventbus.testing.journal_contract import items, offsets


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    async with SqliteJournal(tmp_path / "run.db") as journal:
        await journal.append(items(1, 3))
        await journal.open_group("late", 2)
    return tmp_path / "run.db"


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
async def test_a_journal_is_opened_by_file_or_url(path: Path, form: str) -> None:
    with open_reader(form.format(path)) as reader:
        assert (reader.first(), reader.last()) == (1, 3)
        assert offsets(reader.read(1, 10)) == [2, 3]
        assert [(cursor.group, cursor.floor) for cursor in reader.cursors()] == [("late", 2)]
        assert reader.verify().records == 3
    reader.close()


def test_a_path_needs_no_text(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match="no such file"):
        open_reader(tmp_path / "nowhere.db")


def test_an_unknown_backend_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownBackend, match=r"'nosuch': available are .*sqlite"):
        open_reader("nosuch:///run.db")
