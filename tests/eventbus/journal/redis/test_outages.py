"""What Redis says besides: how durable it is, of a log that is shorter or another, of ids that it forgot, of replicas."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from redis.asyncio import Redis

from eventbus import BackendDataLoss, JournalDamaged, OutcomeUnknown, create_event_bus
from eventbus.journal.shared import Part
from eventbus.journal.values import Appended, Durability, Settled
from eventbus.testing.journal_contract import item, items, offsets
from eventbus.testing.servers import RedisServer
from eventbus.testing.servers.redis import PASSWORD
from eventbus.testing.shared_contract.faults import again
from eventbus.testing.shared_contract.opened import until
from tests.backends import a_group_beyond_the_first, at, goes_on_after_the_first, loss_of, name_of

pytestmark = pytest.mark.server


def key(url: str, name: str) -> str:
    return f"{{{name_of(url)}}}:{name}"


def client(server: RedisServer) -> Any:
    """A client that meddles from outside; used as a context manager."""
    return Redis.from_url(server.url, decode_responses=True)


# --- how durable it is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "durability", "warning"),
    [
        ({}, Durability.POWER_LOSS, None),
        ({"appendfsync": "everysec"}, Durability.PROCESS_CRASH, "up to 2 s"),
        ({"appendfsync": "no"}, Durability.PROCESS_CRASH, "up to a minute"),
        ({"no_appendfsync_on_rewrite": "yes"}, Durability.PROCESS_CRASH, "up to 2 s"),
        ({"appendonly": "no"}, Durability.MEMORY, "no append-only file"),
        ({"rename_command": "CONFIG nobody"}, Durability.PROCESS_CRASH, "does not say"),
    ],
)
async def test_receipts_say_how_durable_the_server_is_and_a_warning_says_what_may_be_lost(
    settings: dict[str, Any], durability: Durability, warning: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with RedisServer(**settings) as server, caplog.at_level(logging.WARNING, "eventbus"):
        async with create_event_bus(server.url) as bus:
            receipt = await bus.publish("desk.opened", {})
            assert receipt.durability == durability
    said = [record.message for record in caplog.records if "lose" in record.message or "lost" in record.message]
    assert len(said) == (0 if warning is None else 1)
    assert warning is None or warning in said[0]


async def test_a_server_that_came_back_with_other_settings_is_seen(caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer() as server, caplog.at_level(logging.WARNING, "eventbus"):
        async with at(f"{server.url}?poll=0.1") as journal:
            await journal.append([item(1)])
            before = journal.durability
            server.stop()
            server.set(appendfsync="everysec")
            server.start()
            await again(lambda: journal.append([item(2)]))
            assert (before, journal.durability) == (Durability.POWER_LOSS, Durability.PROCESS_CRASH)
    assert caplog.text.count("up to 2 s") == 1


# --- a log that is shorter, or another -------------------------------------------------------------------------------


async def test_a_fresh_process_notices_a_cursor_beyond_the_end(redis_server: RedisServer, redis_url: str) -> None:
    await a_group_beyond_the_first(redis_url)
    async with client(redis_server) as asking:
        await asking.xdel(key(redis_url, "log"), "2-0", "3-0")
        await asking.hset(key(redis_url, "meta"), "last", 1)
        await asking.xgroup_create(key(redis_url, "log"), "x")
        await asking.execute_command("XSETID", key(redis_url, "log"), "1-0")
    await goes_on_after_the_first(redis_url)


async def test_another_log_under_the_same_name_is_not_written(redis_server: RedisServer, redis_url: str) -> None:
    async with at(f"{redis_url}&poll=600") as journal, client(redis_server) as asking:
        await journal.append([item(1)])
        await asking.hset(key(redis_url, "meta"), "epoch", "another")
        with pytest.raises(BackendDataLoss, match="another"):
            await journal.append([item(2)])
        with pytest.raises(BackendDataLoss):
            await journal.read(0)
        await journal.accept_data_loss()
        assert journal.epoch == "another"
        assert offsets(await journal.append([item(2)])) == [2]


async def test_a_database_that_was_emptied_is_noticed_and_begun_anew_once_accepted(
    redis_server: RedisServer, redis_url: str
) -> None:
    async with at(f"{redis_url}&poll=0.05") as journal, client(redis_server) as asking:
        await journal.append(items(1, 3))
        await asking.delete(*await asking.keys(key(redis_url, "*")))
        await loss_of(journal)
        await journal.accept_data_loss()
        assert offsets(await journal.append([item(1)])) == [1]


async def test_a_record_that_was_altered_is_not_read(redis_server: RedisServer, redis_url: str) -> None:
    async with at(redis_url) as journal, client(redis_server) as asking:
        await journal.append(items(1, 3))
        ((id_, fields),) = await asking.xrange(key(redis_url, "log"), "3-0", "3-0")
        await asking.xdel(key(redis_url, "log"), id_)
        await asking.execute_command("XSETID", key(redis_url, "log"), "2-0")
        await asking.xadd(key(redis_url, "log"), fields | {"body": "another"}, id="3-0")
        with pytest.raises(JournalDamaged) as damage:
            await journal.read(0)
        assert (damage.value.first_bad, damage.value.last_good) == (3, 2)
        with pytest.raises(JournalDamaged):
            await journal.verify()


# --- ids -------------------------------------------------------------------------------------------------------------


async def test_an_id_is_known_for_as_long_as_it_was_said_and_found_after_that(
    redis_server: RedisServer, redis_url: str
) -> None:
    async with at(f"{redis_url}&dedupe_s=3600") as journal, client(redis_server) as asking:
        await journal.append([item(1)])
        for number in (2, 3):  # twice an hour goes by: the first of them is remembered, the second is not
            assert (await journal.append([item(1)]))[0] == Appended(1, duplicate=True)
            since = int(await asking.hget(key(redis_url, "meta"), "ids_since"))
            await asking.hset(key(redis_url, "meta"), "ids_since", since - 3_600_000)
            await journal.append([item(number)])
        assert await asking.hlen(key(redis_url, "ids:1")) == 0
        found = await journal.find(item(1).event_id)
        assert found is not None
        assert found.offset == 1
        assert await journal.append([item(1)]) == [Appended(4)]
        assert await journal.append([item(3)]) == [Appended(3, duplicate=True)]


async def test_a_script_that_the_server_forgot_is_sent_again(redis_server: RedisServer, redis_url: str) -> None:
    async with at(redis_url) as journal, client(redis_server) as asking:
        await asking.script_flush()
        assert offsets(await journal.append(items(1, 2))) == [1, 2]


# --- replicas --------------------------------------------------------------------------------------------------------


async def test_a_record_is_acknowledged_once_the_replicas_have_it_and_else_in_doubt(
    redis_server: RedisServer, redis_url: str
) -> None:
    async with at(f"{redis_url}&wait_replicas=1&timeout_s=2") as journal:
        with pytest.raises(OutcomeUnknown, match="0 of 1 replicas"):
            await journal.append([item(1)])
        same = redis_server.version
        with RedisServer(version=same, replicaof=f"127.0.0.1 {redis_server.port}", masterauth=PASSWORD) as replica:
            (answer,) = await again(lambda: journal.append([item(1)]))
            assert answer == Appended(1, duplicate=True)
            async with client(replica) as asking:
                assert await asking.xlen(key(redis_url, "log")) == 1


# --- operators -------------------------------------------------------------------------------------------------------


async def test_operators_see_groups_members_and_records_in_keys(redis_server: RedisServer, redis_url: str) -> None:
    async with at(redis_url) as journal, client(redis_server) as asking:
        await journal.append(items(1, 9))
        await journal.join("desk-1", 60)
        leases = await journal.acquire(["ledger/0", "ledger/1"])
        for lease in leases.values():
            await journal.open_part(lease, "beginning")
        await journal.commit_parts([Part(leases["ledger/1"], [Settled(1), Settled(2), Settled(5)])])
        assert await asking.hgetall(key(redis_url, "cursors")) == {
            "ledger/0": "1 0|||",
            "ledger/1": "2 2|5-5||succeeded:3",
        }
        owners = {name: row.split()[2] for name, row in (await asking.hgetall(key(redis_url, "leases"))).items()}
        assert owners == {"ledger/0": "desk-1", "ledger/1": "desk-1"}
        assert [*await asking.hgetall(key(redis_url, "members"))] == ["desk-1"]
        ((id_, record),) = await asking.xrange(key(redis_url, "log"), count=1)
        assert (id_, record["type"], record["body"]) == ("1-0", "trade.executed", "body-1")
        names = {each["name"] for each in await asking.client_list()}
        assert f"eventbus-{redis_url.partition('name=')[2]}" in names


async def test_nobody_is_heard_of_in_another_database(redis_url: str) -> None:
    async with at(redis_url) as here, at(redis_url.replace("/0?", "/1?")) as there:
        ears = [journal.listen("control") for journal in (here, there)]

        async def is_heard() -> bool:
            await there.tell("control", b"halt")
            done, _ = await asyncio.wait([heard[1]], timeout=0.1)
            return bool(done)

        heard = [asyncio.ensure_future(anext(ear)) for ear in ears]
        await until(is_heard)
        assert not heard[0].done()
        heard[0].cancel()
