"""The journal on a PostgreSQL server keeps the contract of a shared journal; and one that breaks it is told by name."""

from __future__ import annotations

from typing import cast

import pytest

from eventbus.journal.backends import journal_at
from eventbus.journal.shared import SharedJournal
from eventbus.testing.servers import PostgresServer
from eventbus.testing.shared_contract import MakeAt, MakeShared, SharedJournalContract

pytestmark = pytest.mark.server


class OnPostgres(SharedJournalContract):
    """The contract over a bus of its own for each test."""

    @pytest.fixture
    def make(self, postgres_url: str) -> MakeShared:
        return lambda: cast(SharedJournal, journal_at(postgres_url))

    @pytest.fixture
    def port(self, postgres_server: PostgresServer) -> int:
        return postgres_server.port

    @pytest.fixture
    def make_at(self, postgres_server: PostgresServer, postgres_url: str) -> MakeAt:
        query = postgres_url.partition("?")[2]
        return lambda port: cast(SharedJournal, journal_at(f"{postgres_server.url_at(port)}?{query}&timeout_s=1"))


class TestPostgresJournal(OnPostgres):
    """As often as a suite has time for."""


@pytest.mark.torture
class TestPostgresJournalForLong(OnPostgres):
    """10,000 appends with every 7th retried, 200 connections killed under a commit."""

    appends = 10_000
    faults = 200
