"""The journal on a server, whatever server it is, keeps the contract of every journal."""

from __future__ import annotations

import pytest

from eventbus.journal.backends import journal_at
from eventbus.testing.journal_contract import JournalContract, Make

pytestmark = pytest.mark.server


class TestRemoteJournal(JournalContract):
    @pytest.fixture
    def make(self, bus_url: str) -> Make:
        return lambda: journal_at(f"{bus_url}&timeout_s=60")  # nothing here is about a server that takes its time
