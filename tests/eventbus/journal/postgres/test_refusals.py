"""What cannot be is refused in time, by one typed error that names it and the remedy; and nothing is left half made."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import asyncpg
import pytest

from eventbus import (
    BackendUnsafe,
    EventBusError,
    InMemoryEventBus,
    JournalUnavailable,
    PolicyConflict,
    create_event_bus,
    open_reader,
)
from eventbus.journal.backends import journal_at
from eventbus.testing.servers import FaultProxy, PostgresServer
from eventbus.testing.servers.found import free_port

pytestmark = pytest.mark.server


async def refusal(url: str, **settings: Any) -> EventBusError:
    async with asyncio.timeout(5):
        with pytest.raises(EventBusError) as refused:
            await journal_at(url, **settings).open()
    return refused.value


async def schemas(url: str) -> set[str]:
    connection = await asyncpg.connect(url.partition("?")[0])
    try:
        return {row[0] for row in await connection.fetch("SELECT nspname FROM pg_namespace")}
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("p%40ss", "wrong"), "check user and password"),
        (("desk:", "nobody:"), "check user and password"),
        (("/postgres?", "/nowhere?"), "createdb"),
        (("127.0.0.1", "nosuch.invalid"), "check host and port"),
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


async def test_nobody_at_the_port() -> None:
    error = await refusal(f"postgresql://desk@127.0.0.1:{free_port()}/x?timeout_s=1")
    assert isinstance(error, JournalUnavailable)
    assert "check host and port, and that the server runs" in str(error)


async def test_somebody_silent_at_the_port(postgres_server: PostgresServer) -> None:
    async with FaultProxy(postgres_server.port) as proxy:
        proxy.black_hole()
        error = await refusal(f"{postgres_server.url_at(proxy.port)}?timeout_s=1")
    assert isinstance(error, JournalUnavailable)


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


@pytest.mark.parametrize(
    ("query", "setting"),
    [
        ("nosuch=1", "nosuch"),
        ("poll=soon", "poll"),
        ("poll=0", "poll"),
        ("timeout_s=-1", "timeout_s"),
        ("synchronous_commit=maybe", "synchronous_commit"),
        ("name=Desk", "name"),
        ("name=1desk", "name"),
        ("name=" + "d" * 40, "name"),
        ("name=desk;DROP", "name"),
        ("keep_outcomes=no", "keep_outcomes"),
    ],
)
def test_a_setting_that_cannot_be(query: str, setting: str) -> None:
    for make in (create_event_bus, journal_at):
        with pytest.raises(PolicyConflict) as refused:
            make(f"postgresql://desk@localhost/trading?{query}")
        assert refused.value.argument == setting


def test_a_bus_is_made_from_what_seed_users_write(postgres_url: str) -> None:
    whole, _, name = postgres_url.partition("?name=")
    port = int(whole.rpartition(":")[2].partition("/")[0])
    for settings in (
        {"backend": "postgres", "connection_string": whole, "name": name},
        {"backend": "postgresql", "host": "127.0.0.1", "port": port, "user": "desk", "password": "p@ss:w/rd"}
        | {"db": "postgres", "name": name, "ssl": False},
    ):

        async def publish(settings: dict[str, Any] = settings) -> int:
            bus = create_event_bus(settings)
            assert isinstance(bus, InMemoryEventBus)
            async with bus:
                await bus.publish("desk:opened", {"n": 1})
                return len([event async for event in bus.replay()])

        assert asyncio.run(publish()) >= 1
    with open_reader(postgres_url) as reader:
        assert reader.last() == 2


def test_a_missing_driver_is_named_with_its_extra() -> None:
    program = """
import sys
sys.modules["asyncpg"] = None
from eventbus import MissingDriver, create_event_bus
try:
    create_event_bus("postgresql://desk@localhost/trading")
except MissingDriver as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "backend 'postgres' needs its driver: pip install 'quantum-trader[postgres]'\n"


def test_a_reader_makes_nothing(postgres_url: str) -> None:
    before = asyncio.run(schemas(postgres_url))
    with pytest.raises(JournalUnavailable, match="there is no bus"):
        open_reader(postgres_url)
    assert asyncio.run(schemas(postgres_url)) == before
