"""Code written for a bus over a server with other habits: a dict of settings, `connect`, topics with colons, `cancel`, `close`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from eventbus import Event, EventBus, PolicyConflict, create_event_bus
from eventbus.testing.servers import PrivateServer
from tests.backends import BACKENDS, Backend

pytestmark = pytest.mark.server


def settings_of(backend: Backend, server: PrivateServer, how: str) -> dict[str, Any]:
    """The address of a bus as one text, or part by part."""
    place = {"connection_string": server.url} if how == "whole" else {"ssl": False, **backend.parts(server)}
    return {"backend": backend.name, **place}


@pytest.fixture(params=["memory", *(f"{name} {how}" for name in BACKENDS for how in ("whole", "parts"))])
def settings(request: pytest.FixtureRequest, servers: Callable[[str], PrivateServer]) -> dict[str, Any]:
    if request.param == "memory":
        return {"backend": "memory"}
    name, how = request.param.split()
    return {**settings_of(BACKENDS[name], servers(name), how), "channel_prefix": "events"}


PUBLISHER = """
import asyncio, json, sys
from eventbus import create_event_bus

async def main():
    bus = create_event_bus(json.loads(sys.argv[1]))
    await bus.connect()
    await bus.publish("registry:bots", {"bot_id": "bot"})
    await bus.close()

asyncio.run(main())
"""


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
    async with asyncio.timeout(60):
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
    async with asyncio.timeout(60):
        assert [await heard.get() for _ in range(2)] == ["registry:bots", "registry:bots:config"]
    await bus.close()


async def test_a_cache_is_invalidated_by_an_event_of_another_process(backend: Backend, server: PrivateServer) -> None:
    settings = {**settings_of(backend, server, "parts"), "channel_prefix": "registry"}
    there, stored = create_event_bus(settings), {"bot": "old"}
    await there.connect()
    registry = CachingRegistry(there, stored)
    await registry.initialize()
    assert registry.get("bot") == "old"
    stored["bot"] = "new"
    assert registry.get("bot") == "old"
    publisher = await asyncio.create_subprocess_exec(sys.executable, "-c", PUBLISHER, json.dumps(settings))
    assert await publisher.wait() == 0
    assert publisher.pid != os.getpid()
    async with asyncio.timeout(60):
        await registry.invalidated.wait()
    assert registry.get("bot") == "new"
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
    ],
)
def test_what_cannot_be_is_refused_by_name(backend: Backend, settings: dict[str, Any], argument: str) -> None:
    with pytest.raises(PolicyConflict) as refused:
        create_event_bus({"backend": backend.name, **settings})
    assert refused.value.argument == argument


def test_what_only_shared_buses_have_is_refused_elsewhere() -> None:
    with pytest.raises(PolicyConflict, match="postgresql://") as refused:
        create_event_bus("sqlite:///run.db?lease=5")
    assert refused.value.argument == "lease"


async def test_a_dict_of_parts_and_a_url_with_settings_say_the_same(backend: Backend, server: PrivateServer) -> None:
    one = create_event_bus({"name": "same", **settings_of(backend, server, "parts")})
    other = create_event_bus(f"{server.url}?name=same&lease=5&parts=4")
    await one.connect()
    await other.connect()
    receipt = await one.publish("t.x", {"n": 1})
    found = await other.journal.find(receipt.event_id)
    assert found is not None
    assert found.offset == receipt.offset
    await one.close()
    await other.close()
