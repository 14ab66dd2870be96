"""What PostgreSQL says besides: of a log that is shorter or another, of notifications, of durability; and what operators see in views."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import asyncpg
import pytest

from eventbus.journal.shared import Part
from eventbus.journal.values import Durability, Settled
from eventbus.testing.journal_contract import item, items
from eventbus.testing.servers import FaultProxy, PostgresServer
from eventbus.testing.servers.proxy import without_messages
from eventbus.testing.shared_contract.opened import PATIENCE_S, until
from tests.backends import a_group_beyond_the_first, at, goes_on_after_the_first, loss_of

pytestmark = pytest.mark.server


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


async def test_a_fresh_process_notices_a_cursor_beyond_the_end(server: PostgresServer) -> None:
    await a_group_beyond_the_first(server.url)
    connection = await asyncpg.connect(server.url)
    await connection.execute('DELETE FROM eventbus.events WHERE "offset" > 1; UPDATE eventbus.head SET last = 1')
    await connection.close()
    await goes_on_after_the_first(server.url)


async def test_another_log_under_the_same_name_is_noticed(server: PostgresServer) -> None:
    async with at(f"{server.url}?poll=0.1") as journal:
        connection = await asyncpg.connect(server.url)
        await connection.execute("UPDATE eventbus.meta SET value = 'another' WHERE name = 'epoch'")
        await connection.close()
        assert "another" in (await loss_of(journal)).found
        await journal.accept_data_loss()
        assert journal.epoch == "another"


async def test_without_notifications_the_log_is_polled_and_that_is_said_once(
    postgres_url: str, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    query = postgres_url.partition("?")[2]
    async with FaultProxy(postgres_server.port, answers=without_messages(b"A")) as proxy:
        url = f"{postgres_server.url_at(proxy.port)}?{query}&poll=600"
        async with at(url) as journal, at(postgres_url) as other:
            with caplog.at_level(logging.WARNING, "eventbus"):

                async def is_told() -> bool:
                    return "the log is polled" in caplog.text

                await until(is_told)
            await other.append([item(1)])
            assert await journal.wait(0, timeout=PATIENCE_S)
            proxy.reset()
            await other.append([item(2)])
            assert await journal.wait(1, timeout=PATIENCE_S)
            assert caplog.text.count("the log is polled") == 1


@pytest.mark.parametrize(("level", "durability"), [("on", Durability.POWER_LOSS), ("off", Durability.PROCESS_CRASH)])
async def test_each_transaction_says_how_durable_it_is(
    postgres_url: str, level: str, durability: Durability, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = at(f"{postgres_url}&synchronous_commit={level}")
    assert journal.durability is durability
    name = postgres_url.partition("name=")[2]
    connection = await asyncpg.connect(postgres_url.partition("?")[0])
    async with journal:
        await connection.execute(
            f"""CREATE TABLE {name}.seen (level text);
            CREATE FUNCTION {name}.look() RETURNS trigger LANGUAGE plpgsql AS
            $$BEGIN INSERT INTO {name}.seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END$$;
            CREATE CONSTRAINT TRIGGER look AFTER INSERT OR UPDATE ON {name}.events
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {name}.look();
            CREATE CONSTRAINT TRIGGER look AFTER INSERT OR UPDATE ON {name}.cursors
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {name}.look();
            ALTER ROLE desk SET synchronous_commit = 'local'"""
        )
        try:
            async with at(f"{postgres_url}&synchronous_commit={level}") as other:
                await other.append([item(1)])
                await other.append([item(1), item(2)])
                await other.open_group("g", "beginning")
                await other.commit("g", [Settled(1)])
            seen = {row[0] for row in await connection.fetch(f"SELECT level FROM {name}.seen")}
            assert seen == {level}
        finally:
            await connection.execute("ALTER ROLE desk RESET synchronous_commit")
            await connection.close()


async def test_operators_see_groups_and_members_in_views(postgres_url: str) -> None:
    async with at(postgres_url) as journal:
        await journal.append(items(1, 9))
        await journal.join("desk-1", 60)
        leases = await journal.acquire(["ledger/0", "ledger/1"])
        for lease in leases.values():
            await journal.open_part(lease, "beginning")
        await journal.commit_parts([Part(leases["ledger/1"], [Settled(1), Settled(2), Settled(5)])])
        name = postgres_url.partition("name=")[2]
        connection = await asyncpg.connect(postgres_url.partition("?")[0])
        groups = await connection.fetch(
            f"SELECT \"group\", part, owner, floor, lag, pending, oldest_age > interval '0' FROM {name}.eventbus_groups ORDER BY part"
        )
        members = await connection.fetch(f"SELECT process, is_alive, leases FROM {name}.eventbus_members")
        await connection.close()
    assert [tuple(row) for row in groups] == [
        ("ledger", 0, "desk-1", 0, 9, 9, True),
        ("ledger", 1, "desk-1", 2, 7, 6, True),
    ]
    assert [tuple(row) for row in members] == [("desk-1", True, 2)]
