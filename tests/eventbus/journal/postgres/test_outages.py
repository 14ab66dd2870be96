"""A server that is killed, put back to an older copy, or behind a proxy without notifications: nothing is lost, or it is said."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import asyncpg
import pytest

from eventbus import BackendDataLoss, JournalUnavailable, PublishTimeout
from eventbus.journal.backends import journal_at
from eventbus.journal.remote.journal import RemoteJournal
from eventbus.journal.shared import Part
from eventbus.journal.values import Append, Durability, Settled
from eventbus.testing.journal_contract import item, items, offsets
from eventbus.testing.servers import FaultProxy, PostgresServer
from eventbus.testing.servers.proxy import without_messages
from eventbus.testing.shared_contract.faults import again
from eventbus.testing.shared_contract.opened import until

pytestmark = pytest.mark.server


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


def at(url: str) -> RemoteJournal:
    return cast(RemoteJournal, journal_at(url))


async def test_what_was_acknowledged_survives_kills_of_the_server(server: PostgresServer) -> None:
    async with at(f"{server.url}?timeout_s=1") as journal:
        await journal.join("me", 60)
        lease = (await journal.acquire(["g/0"]))["g/0"]
        await journal.open_part(lease, "beginning")
        acknowledged: dict[str, int] = {}
        is_over = False

        async def publish() -> None:
            number = 0
            while not is_over:
                number += 1
                batch: list[Append] = [item(number)]
                (answer,) = await again(lambda batch=batch: journal.append(batch))  # type: ignore[misc] # a default
                acknowledged[batch[0].event_id] = answer.offset
                await again(lambda upto=answer.offset: journal.commit_parts([Part(lease, skip=[(1, upto)])]))  # type: ignore[misc] # a default

        publishing = asyncio.ensure_future(publish())
        for _ in range(5):
            known = len(acknowledged)

            async def has_gone_on(known: int = known) -> bool:
                return len(acknowledged) > known + 5

            await until(has_gone_on)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        is_over = True
        await publishing
        records = await journal.read(0, 100_000)
        assert offsets(records) == [*range(1, len(records) + 1)]
        assert {record.event_id: record.offset for record in records}.items() >= acknowledged.items()
        assert (await journal.verify()).records == len(records)


async def test_a_server_that_is_down_is_waited_for_and_then_told(server: PostgresServer) -> None:
    async with at(f"{server.url}?timeout_s=0.5") as journal:
        await journal.append([item(1)])
        server.stop()
        with pytest.raises(JournalUnavailable):
            await again_refused(journal)
        with pytest.raises(PublishTimeout):
            await journal.append([item(2)])
        assert journal.stats().failure
        server.start()
        assert offsets(await again(lambda: journal.append([item(2)]))) == [2]
        assert journal.stats().failure is None


async def again_refused(journal: RemoteJournal) -> None:
    for _ in range(3):
        await journal.read(0)


async def test_a_server_put_back_to_an_older_copy_is_noticed_and_accepted_once_told(
    server: PostgresServer, tmp_path: Path
) -> None:
    async with at(server.url) as journal:
        await journal.append(items(1, 3))
        await journal.open_group("g", "beginning")
    server.stop()
    server.copy_to(tmp_path / "copy")
    server.start()
    async with at(f"{server.url}?poll=0.1") as journal:
        await journal.append(items(4, 6))
        await journal.commit("g", [Settled(offset) for offset in (1, 2, 3, 4, 6)])
        server.stop()
        server.put_back(tmp_path / "copy")
        server.start()
        told: list[tuple[str, str]] = []

        async def has_noticed() -> bool:
            try:
                await journal.read(0)
            except BackendDataLoss as loss:
                told.append((loss.expected, loss.found))
            except JournalUnavailable:
                pass
            return bool(told)

        await until(has_noticed)
        assert told == [("offset 6", "offset 3")]
        with pytest.raises(BackendDataLoss):
            await journal.append([item(7)])
        with pytest.raises(BackendDataLoss):
            await journal.wait(6, timeout=0) or await journal.read(6)
        await journal.accept_data_loss()
        assert offsets(await journal.read(0)) == [1, 2, 3]
        assert offsets(await journal.append([item(7)])) == [4]
    async with at(server.url) as fresh:
        assert fresh.last == 4


async def test_a_fresh_process_notices_a_cursor_beyond_the_end(server: PostgresServer) -> None:
    async with at(server.url) as journal:
        await journal.append(items(1, 3))
        await journal.open_group("g", "beginning")
        await journal.commit("g", skip=[(1, 3)])
    connection = await asyncpg.connect(server.url)
    await connection.execute('DELETE FROM eventbus.events WHERE "offset" > 1; UPDATE eventbus.head SET last = 1')
    await connection.close()
    async with at(server.url) as fresh:
        with pytest.raises(BackendDataLoss):
            await fresh.append([item(9)])
        await fresh.accept_data_loss()
        cursor = await fresh.committed("g")
        assert cursor is not None
        assert cursor.floor == 1
        assert offsets(await fresh.append([item(9)])) == [2]


async def test_another_log_under_the_same_name_is_noticed(server: PostgresServer) -> None:
    async with at(f"{server.url}?poll=0.1") as journal:
        connection = await asyncpg.connect(server.url)
        await connection.execute("UPDATE eventbus.meta SET value = 'another' WHERE name = 'epoch'")
        await connection.close()

        async def has_noticed() -> bool:
            try:
                await journal.read(0)
            except BackendDataLoss as loss:
                return "another" in loss.found
            return False

        await until(has_noticed)
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
            assert await journal.wait(0, timeout=30)
            proxy.reset()
            await other.append([item(2)])
            assert await journal.wait(1, timeout=30)
            assert caplog.text.count("the log is polled") == 1


async def test_hints_come_long_before_the_poll(postgres_url: str) -> None:
    async with at(f"{postgres_url}&poll=600") as journal, at(postgres_url) as other:
        waiting = asyncio.ensure_future(journal.wait(0, timeout=60))
        while not waiting.done():  # until it listens
            await other.append([item(other.last + 1)])
            await asyncio.wait([waiting], timeout=0.1)
        assert await waiting


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
