"""Code written for a bus over PostgreSQL with other habits: a dict of settings, `connect`, topics with colons, `cancel`, `close`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from eventbus import Event, EventBus, JournalUnavailable, PolicyConflict, create_event_bus
from eventbus.testing.servers import PostgresServer

pytestmark = pytest.mark.server


@pytest.fixture(params=["memory", "postgres"])
async def settings(request: pytest.FixtureRequest) -> AsyncIterator[dict[str, Any]]:
    if request.param == "memory":
        yield {"backend": "memory"}
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        yield {"backend": "postgres", "connection_string": server.url, "channel_prefix": "events"}


class CachingRegistry:
    """Configurations, kept until an event says that one changed."""

    def __init__(self, bus: EventBus, stored: dict[str, str]) -> None:
        self._bus, self._stored, self._cache = bus, stored, dict[str, str]()
        self.invalidated = asyncio.Event()

    async def initialize(self) -> None:
        self._subscription = await self._bus.subscribe("registry:bots", self._on_change)

    async def _on_change(self, event: Event) -> None:
        self._cache.pop(event.payload["bot_id"], None)
        self.invalidated.set()

    def get(self, bot_id: str) -> str:
        return self._cache.setdefault(bot_id, self._stored[bot_id])


async def test_the_quick_start_runs(settings: dict[str, Any]) -> None:
    bus, heard = create_event_bus(settings), asyncio.Queue[Event]()
    await bus.connect()
    subscription = await bus.subscribe("my-topic", heard.put)
    await bus.publish("my-topic", {"message": "Hello, World!"})
    async with asyncio.timeout(10):
        event = await heard.get()
    assert (event.type, event.payload) == ("my-topic", {"message": "Hello, World!"})
    await subscription.cancel()
    await bus.publish("my-topic", {"message": "nobody hears"})
    await bus.close()
    assert heard.empty()


async def test_topics_with_colons_are_subscribed_to_by_wildcards(settings: dict[str, Any]) -> None:
    bus, heard = create_event_bus(settings), asyncio.Queue[str]()
    await bus.connect()
    await bus.subscribe("registry:*", lambda event: heard.put_nowait(event.type))
    for topic in ("registry:bots", "knowledge:ingestion", "registry:bots:config"):
        await bus.publish(topic, {})
    async with asyncio.timeout(10):
        assert [await heard.get() for _ in range(2)] == ["registry:bots", "registry:bots:config"]
    await bus.close()


async def test_a_cache_is_invalidated_by_an_event_of_another_bus(postgres_server: PostgresServer) -> None:
    settings = {"backend": "postgres", "connection_string": postgres_server.url, "channel_prefix": "registry"}
    here, there, stored = create_event_bus(settings), create_event_bus(settings), {"bot": "old"}
    await here.connect()
    await there.connect()
    registry = CachingRegistry(there, stored)
    await registry.initialize()
    assert registry.get("bot") == "old"
    stored["bot"] = "new"
    assert registry.get("bot") == "old"
    await here.publish("registry:bots", {"bot_id": "bot"})
    async with asyncio.timeout(10):
        await registry.invalidated.wait()
    assert registry.get("bot") == "new"
    await here.close()
    await there.close()


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({"connection_string": "not a url"}, "connection_string"),
        ({"connection_string": "sqlite:///run.db"}, "connection_string"),
        ({"host": "127.0.0.1", "retyr": 1}, "retyr"),
        ({"host": "127.0.0.1", "name": "Desk!"}, "name"),
        ({"host": "127.0.0.1", "lease": 0}, "lease"),
        ({"host": "127.0.0.1", "parts": 0}, "parts"),
        ({"host": "127.0.0.1", "on_data_loss": "weep"}, "on_data_loss"),
        ({"host": "127.0.0.1", "synchronous_commit": "maybe"}, "synchronous_commit"),
    ],
)
def test_what_cannot_be_is_refused_by_name(settings: dict[str, Any], argument: str) -> None:
    with pytest.raises(PolicyConflict) as refused:
        create_event_bus({"backend": "postgres", **settings})
    assert refused.value.argument == argument


def test_what_only_shared_buses_have_is_refused_elsewhere() -> None:
    with pytest.raises(PolicyConflict, match="postgresql://") as refused:
        create_event_bus("sqlite:///run.db?lease=5")
    assert refused.value.argument == "lease"


async def test_a_server_that_is_not_there_is_told_in_time(postgres_server: PostgresServer) -> None:
    bus = create_event_bus("postgresql://desk:wrong@127.0.0.1:9/postgres?timeout_s=1")
    with pytest.raises(JournalUnavailable, match="check host and port"):
        await bus.connect()
    wrong = create_event_bus(postgres_server.url.replace("p%40ss", "q%40ss"))
    with pytest.raises(JournalUnavailable, match="user and password"):
        await wrong.connect()


async def test_a_dict_of_parts_and_a_url_with_settings_say_the_same(postgres_server: PostgresServer) -> None:
    parts = {
        "host": "127.0.0.1",
        "port": postgres_server.port,
        "user": "desk",
        "password": "p@ss:w/rd",
        "db": "postgres",
    }
    one = create_event_bus({"backend": "postgres", "name": "same", **parts})
    other = create_event_bus(f"{postgres_server.url}?name=same&lease=5&parts=4")
    await one.connect()
    await other.connect()
    receipt = await one.publish("t.x", {"n": 1})
    found = await other.journal.find(receipt.event_id)
    assert found is not None
    assert found.offset == receipt.offset
    await one.close()
    await other.close()
