"""The journal on a server, whatever server it is, keeps the contract of a shared journal."""

from __future__ import annotations

from typing import cast

import pytest

from eventbus.journal.backends import journal_at
from eventbus.journal.shared import SharedJournal
from eventbus.testing.servers import PrivateServer
from eventbus.testing.shared_contract import MakeAt, MakeShared, SharedJournalContract

pytestmark = pytest.mark.server


class OnServer(SharedJournalContract):
    """The contract over a bus of its own for each test."""

    @pytest.fixture
    def make(self, bus_url: str) -> MakeShared:
        return lambda: cast(SharedJournal, journal_at(f"{bus_url}&timeout_s=60"))

    @pytest.fixture
    def port(self, server: PrivateServer) -> int:
        return server.port

    @pytest.fixture
    def make_at(self, server: PrivateServer, bus_url: str) -> MakeAt:
        """With a deadline that a healthy call keeps on a busy machine too, and that what hangs is waited for."""
        query = bus_url.partition("?")[2]
        return lambda port: cast(SharedJournal, journal_at(f"{server.url_at(port)}?{query}&timeout_s=3"))


class TestRemoteJournal(OnServer):
    """As often as a suite has time for."""


@pytest.mark.torture
class TestRemoteJournalForLong(OnServer):
    """10,000 appends with every 7th retried, 200 connections killed under a commit."""

    appends = 10_000
    faults = 200
