"""The journal in a SQLite file keeps the contract of every journal."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventbus.journal.sqlite import SqliteJournal
from eventbus.journal.sqlite.schema import Synchronous
from eventbus.testing.journal_contract import JournalContract, Make


@pytest.mark.parametrize("synchronous", [Synchronous.FULL, Synchronous.OFF])
class TestSqliteJournal(JournalContract):
    @pytest.fixture
    def make(self, tmp_path: Path, synchronous: Synchronous) -> Make:
        return lambda: SqliteJournal(tmp_path / "run.db", synchronous=synchronous)
