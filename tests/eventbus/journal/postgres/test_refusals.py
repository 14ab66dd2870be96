"""What PostgreSQL alone can say no to is refused in time, by one typed error; and nothing is left half made."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from eventbus import (
    BackendUnsafe,
    JournalUnavailable,
    PolicyConflict,
)
from eventbus.journal.backends import journal_at
from eventbus.testing.servers import PostgresServer
from tests.backends import refusal

pytestmark = pytest.mark.server


async def schemas(url: str) -> set[str]:
    connection = await asyncpg.connect(url.partition("?")[0])
    try:
        return {row[0] for row in await connection.fetch("SELECT nspname FROM pg_namespace")}
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("desk:", "nobody:"), "check user and password"),
        (("/postgres?", "/nowhere?"), "createdb"),
    ],
)
async def test_a_url_that_leads_nowhere(postgres_url: str, change: tuple[str, str], says: str) -> None:
    before = await schemas(postgres_url)
    error = await refusal(postgres_url.replace(*change) + "&timeout_s=2")
    assert isinstance(error, JournalUnavailable)
    assert says in str(error)
    assert "p@ss" not in str(error)
    assert "p%40ss" not in str(error)
    assert await schemas(postgres_url) == before


async def test_tables_of_somebody_else(postgres_url: str) -> None:
    name = postgres_url.partition("name=")[2]
    connection = await asyncpg.connect(postgres_url.partition("?")[0])
    await connection.execute(f"CREATE SCHEMA {name} CREATE TABLE orders (id int)")
    error = await refusal(postgres_url)
    assert isinstance(error, BackendUnsafe)
    assert name in error.setting
    assert "name=" in error.remedy
    found = await connection.fetch(
        "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = $1", name
    )
    assert [row[0] for row in found] == ["orders"]
    await connection.close()


async def test_tables_of_another_format(postgres_url: str) -> None:
    async with journal_at(postgres_url):
        pass
    name = postgres_url.partition("name=")[2]
    connection = await asyncpg.connect(postgres_url.partition("?")[0])
    await connection.execute(f"UPDATE {name}.meta SET value = '99' WHERE name = 'format'")
    await connection.close()
    error = await refusal(postgres_url)
    assert isinstance(error, BackendUnsafe)
    assert "format 99" in error.setting


async def test_a_user_that_may_make_nothing(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url.partition("?")[0])
    await connection.execute("DROP ROLE IF EXISTS guest")
    await connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    error = await refusal(postgres_url.replace("desk:p%40ss%3Aw%2Frd", "guest:guest"))
    assert isinstance(error, JournalUnavailable)
    assert "GRANT CREATE ON DATABASE" in str(error)
    await connection.execute("DROP ROLE guest")
    await connection.close()


def test_a_server_without_fsync() -> None:
    with PostgresServer(fsync="off") as server:
        error = asyncio.run(refusal(server.url))
        assert isinstance(error, BackendUnsafe)
        assert "fsync" in error.setting
        assert "eventbus" not in asyncio.run(schemas(server.url))


async def test_a_server_that_is_too_old(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventbus.journal.postgres.storage._OLDEST", (99, 0))  # of none older is there a wheel
    error = await refusal(postgres_url)
    assert isinstance(error, BackendUnsafe)
    assert "too old" in error.setting
    assert "14" in error.remedy


def test_a_level_that_is_none() -> None:
    with pytest.raises(PolicyConflict) as refused:
        journal_at("postgresql://desk@localhost/trading?synchronous_commit=maybe")
    assert refused.value.argument == "synchronous_commit"
