"""What Redis alone can say no to is refused in time, by one typed error; and nothing is left half made."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from eventbus import BackendUnsafe, JournalUnavailable, PolicyConflict, create_event_bus
from eventbus.journal.backends import journal_at
from eventbus.journal.protocol import Journal
from eventbus.testing.journal_contract import item, items, letter, offsets
from eventbus.testing.servers import RedisServer
from eventbus.testing.servers.found import free_port
from eventbus.testing.servers.redis import PASSWORD
from eventbus.testing.shared_contract.opened import until
from tests.backends import name_of, refusal

pytestmark = pytest.mark.server


@asynccontextmanager
async def client(server: RedisServer) -> AsyncIterator[Any]:
    """A client that looks at the server from outside."""
    asking: Any = Redis.from_url(server.url, decode_responses=True)
    async with asking:
        yield asking


# --- servers that would break a promise ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says", "remedy"),
    [
        ({"maxmemory_policy": "allkeys-lru"}, "maxmemory-policy is allkeys-lru", "noeviction"),
        ({"maxmemory_policy": "volatile-ttl"}, "maxmemory-policy is volatile-ttl", "noeviction"),
    ],
)
async def test_a_server_that_would_forget(settings: dict[str, Any], says: str, remedy: str) -> None:
    with RedisServer(**settings) as server:
        error = await refusal(server.url)
        async with client(server) as asking:
            assert await asking.keys() == []
    assert isinstance(error, BackendUnsafe)
    assert says in error.setting
    assert remedy in error.remedy


async def test_a_server_that_is_too_old(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventbus.journal.redis.storage._OLDEST", (99, 0))  # of none older is there a wheel
    error = await refusal(redis_url)
    assert isinstance(error, BackendUnsafe)
    assert "too old" in error.setting
    assert "6.2" in error.remedy


async def test_a_replica(redis_server: RedisServer) -> None:
    same = redis_server.version
    with RedisServer(version=same, replicaof=f"127.0.0.1 {redis_server.port}", masterauth=PASSWORD) as replica:
        error = await refusal(replica.url)
    assert isinstance(error, JournalUnavailable)
    assert "use the primary" in str(error)


async def test_a_node_of_a_cluster_that_has_not_the_keys_of_the_bus() -> None:
    port = next(port for port in iter(free_port, None) if port < 55_536)  # nodes talk 10,000 above it
    with RedisServer(port=port, cluster_enabled="yes") as node:
        error = await refusal(f"{node.url}?name=desk")
        assert isinstance(error, JournalUnavailable)
        assert "cluster" in str(error)
        async with client(node) as asking:
            await asking.execute_command("CLUSTER ADDSLOTS", key_slot(b"desk"))
            await asking.config_set("cluster-require-full-coverage", "no")

            async def is_whole() -> bool:
                return bool((await asking.execute_command("CLUSTER INFO"))["cluster_state"] == "ok")

            await until(is_whole)
        async with journal_at(f"{node.url}?name=desk") as journal:
            assert offsets(await journal.append(items(1, 3))) == [1, 2, 3]


async def test_all_keys_of_a_bus_are_in_one_place_of_a_cluster(redis_server: RedisServer, redis_url: str) -> None:
    async with journal_at(redis_url) as journal:
        await journal.append([item(1, retain="x")])
        await journal.open_group("g", "beginning")
        await journal.commit("g", [], skip=[(1, 1)], dead=[letter(None)])
        await journal.mark_redriven([1])
    async with client(redis_server) as asking:
        keys = await asking.keys(f"*{name_of(redis_url)}*")
    assert len(keys) > 5
    assert {key_slot(key.encode()) for key in keys} == {key_slot(name_of(redis_url).encode())}


# --- what is somebody else's -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["SET {name}:meta x", "HSET {name}:meta a b", "XADD {name}:log 1-0 a b"])
async def test_keys_of_somebody_else(redis_server: RedisServer, redis_url: str, command: str) -> None:
    name = name_of(redis_url)
    async with client(redis_server) as asking:
        await asking.execute_command(*command.replace("name", name).split())
        before = await asking.keys(f"*{name}*")
        error = await refusal(redis_url)
        assert await asking.keys(f"*{name}*") == before
    assert isinstance(error, BackendUnsafe)
    assert name in error.setting
    assert "name=" in error.remedy


async def test_a_bus_of_another_format(redis_server: RedisServer, redis_url: str) -> None:
    async with journal_at(redis_url):
        pass
    async with client(redis_server) as asking:
        await asking.hset(f"{{{name_of(redis_url)}}}:meta", "format", 99)
    error = await refusal(redis_url)
    assert isinstance(error, BackendUnsafe)
    assert "format 99" in error.setting


async def test_a_database_that_is_not_there(redis_url: str) -> None:
    error = await refusal(redis_url.replace("/0?", "/99?"))
    assert isinstance(error, JournalUnavailable)
    assert "check the number of the database" in str(error)


async def test_another_database_is_another_bus(redis_url: str) -> None:
    async with journal_at(redis_url) as journal, journal_at(redis_url.replace("/0?", "/1?")) as other:
        await journal.append([item(1)])
        assert await other.read(0) == []
        assert journal.last == 1


async def test_a_user_that_may_nothing(redis_server: RedisServer, redis_url: str) -> None:
    async with client(redis_server) as asking:
        await asking.execute_command("ACL SETUSER guest on >guest ~* +info +ping +select +client")
        error = await refusal(redis_url.replace("redis://:p%40ss%3Aw%2Frd", "redis://guest:guest"))
        await asking.execute_command("ACL DELUSER guest")
    assert isinstance(error, JournalUnavailable)
    assert "grant it" in str(error)


async def test_a_server_that_asks_for_no_password() -> None:
    with RedisServer(requirepass="") as server:
        error = await refusal(server.url)
    assert isinstance(error, JournalUnavailable)
    assert "no password" in str(error)


async def fill(journal: Journal) -> None:
    for number in range(1, 10_000):
        await journal.append([item(number, body=bytes(50_000))])


async def test_a_server_without_memory_accepts_nothing_by_half() -> None:
    with RedisServer(maxmemory="3mb") as server:
        async with journal_at(server.url) as journal:
            with pytest.raises(JournalUnavailable, match="raise maxmemory"):
                await fill(journal)
            known = journal.last
            async with client(server) as asking:
                await asking.config_set("maxmemory", "0")
            assert (await journal.verify()).records == known
            assert offsets(await journal.append([item(known + 1)])) == [known + 1]


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "setting"),
    [
        ("redis://localhost/orders", "db"),
        ("redis://localhost/-1", "db"),
        ("redis://localhost?dedupe_s=0", "dedupe_s"),
        ("redis://localhost?wait_replicas=-1", "wait_replicas"),
        ("redis://localhost?ssl=maybe", "ssl"),
        ("redis://localhost?ssl_ca_certs=ca.pem", "ssl_ca_certs"),
        ("rediss://localhost?ssl=false", "ssl"),
        ("redis://localhost?synchronous_commit=on", "synchronous_commit"),
    ],
)
def test_a_setting_that_cannot_be(url: str, setting: str) -> None:
    for make in (create_event_bus, journal_at):
        with pytest.raises(PolicyConflict) as refused:
            make(url)
        assert refused.value.argument == setting


# --- with TLS --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key and a certificate for this host, made for this test."""
    folder = tmp_path_factory.mktemp("tls")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *names, *files], check=True, capture_output=True
    )
    return folder


@asynccontextmanager
async def encrypted(server: RedisServer, certificate: Path) -> AsyncIterator[int]:
    """The port where TLS ends: the server of the wheel is built without it."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        below, above = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(forward(reader, above), forward(below, writer), return_exceptions=True)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    door = await asyncio.start_server(take, "127.0.0.1", 0, ssl=context)
    async with door:
        yield door.sockets[0].getsockname()[1]


async def test_a_bus_with_tls_by_url_and_by_parts(redis_server: RedisServer, redis_url: str, certificate: Path) -> None:
    name = name_of(redis_url)
    async with encrypted(redis_server, certificate) as port:
        place = redis_server.url_at(port).replace("redis://", "rediss://")
        trusts = {"ssl_ca_certs": str(certificate / "cert.pem"), "channel_prefix": name}
        parts = {"backend": "redis", "host": "127.0.0.1", "port": port, "ssl": True, "password": PASSWORD, "db": 0}
        for settings in (
            parts | trusts,
            {"backend": "redis", "connection_string": place, **trusts},
            {"backend": "rediss", "connection_string": place, **trusts},
        ):
            async with create_event_bus(settings) as bus:
                await bus.publish("desk:opened", {"n": 1})
                assert len([event async for event in bus.replay()]) > 0
    async with journal_at(redis_url) as journal:
        assert journal.last == 3


async def test_a_certificate_that_nobody_vouches_for(redis_server: RedisServer, certificate: Path) -> None:
    async with encrypted(redis_server, certificate) as port:
        error = await refusal(redis_server.url_at(port).replace("redis://", "rediss://"))
    assert isinstance(error, JournalUnavailable)
    assert "ssl_ca_certs" in str(error)


async def test_tls_to_a_server_that_has_none(redis_server: RedisServer) -> None:
    error = await refusal(redis_server.url.replace("redis://", "rediss://") + "?timeout_s=2")
    assert isinstance(error, JournalUnavailable)
