"""The journal on a PostgreSQL server keeps the contract of every journal."""

from __future__ import annotations

import pytest

from eventbus.journal.backends import journal_at
from eventbus.testing.journal_contract import JournalContract, Make

pytestmark = pytest.mark.server


class TestPostgresJournal(JournalContract):
    @pytest.fixture
    def make(self, postgres_url: str) -> Make:
        return lambda: journal_at(postgres_url)
