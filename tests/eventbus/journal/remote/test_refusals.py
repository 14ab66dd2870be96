"""What cannot be is refused in time, whatever server it is, by one typed error that names it and the remedy; nothing is half made."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from eventbus import (
    InMemoryEventBus,
    JournalUnavailable,
    PolicyConflict,
    create_event_bus,
    open_reader,
)
from eventbus.journal.backends import journal_at
from eventbus.testing.servers import FaultProxy, PrivateServer
from eventbus.testing.servers.found import free_port
from tests.backends import Backend, refusal

pytestmark = pytest.mark.server


async def test_a_wrong_password(bus_url: str) -> None:
    error = await refusal(bus_url.replace("p%40ss", "q%40ss"))  # every private server has the same one
    assert isinstance(error, JournalUnavailable)
    assert "check user and password" in str(error)
    for secret in ("p@ss", "p%40ss", "q@ss", "q%40ss"):
        assert secret not in str(error)


async def test_a_host_that_is_none(bus_url: str) -> None:
    error = await refusal(bus_url.replace("127.0.0.1", "nosuch.invalid") + "&timeout_s=2")
    assert isinstance(error, JournalUnavailable)
    assert "check host and port" in str(error)
    assert "p%40ss" not in str(error)


async def test_nobody_at_the_port(backend: Backend) -> None:
    error = await refusal(f"{backend.name}://127.0.0.1:{free_port()}?timeout_s=1")
    assert isinstance(error, JournalUnavailable)
    assert "check host and port, and that the server runs" in str(error)


async def test_somebody_silent_at_the_port(server: PrivateServer) -> None:
    async with FaultProxy(server.port) as proxy:
        proxy.black_hole()
        error = await refusal(f"{server.url_at(proxy.port)}?timeout_s=1")
    assert isinstance(error, JournalUnavailable)


@pytest.mark.parametrize(
    ("query", "setting"),
    [
        ("nosuch=1", "nosuch"),
        ("poll=soon", "poll"),
        ("poll=0", "poll"),
        ("timeout_s=-1", "timeout_s"),
        ("name=Desk", "name"),
        ("name=1desk", "name"),
        ("name=" + "d" * 40, "name"),
        ("name=desk;DROP", "name"),
        ("keep_outcomes=no", "keep_outcomes"),
    ],
)
def test_a_setting_that_cannot_be(backend: Backend, query: str, setting: str) -> None:
    for make in (create_event_bus, journal_at):
        with pytest.raises(PolicyConflict) as refused:
            make(f"{backend.name}://localhost?{query}")
        assert refused.value.argument == setting


def test_a_bus_is_made_from_a_url_or_from_its_parts(backend: Backend, server: PrivateServer, bus_url: str) -> None:
    name = bus_url.partition("name=")[2]
    for settings in (
        {"backend": backend.name, "connection_string": server.url, "name": name},
        {"backend": backend.name, "channel_prefix": name, "ssl": False, **backend.parts(server)},
    ):

        async def publish(settings: dict[str, Any] = settings) -> int:
            bus = create_event_bus(settings)
            assert isinstance(bus, InMemoryEventBus)
            async with bus:
                await bus.publish("desk:opened", {"n": 1})
                return len([event async for event in bus.replay()])

        assert asyncio.run(publish()) >= 1
    with open_reader(bus_url) as reader:
        assert reader.last() == 2


def test_a_missing_driver_is_named_with_its_extra(backend: Backend) -> None:
    program = f"""
import sys
sys.modules[{backend.driver!r}] = None
from eventbus import MissingDriver, create_event_bus
try:
    create_event_bus("{backend.name}://localhost")
except MissingDriver as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    extra = f"pip install 'quantum-trader[{backend.name}]'"
    assert done.stdout == f"{backend.name} needs what is not installed: {extra}\n"


def test_a_reader_makes_nothing(bus_url: str) -> None:
    for _ in range(2):
        with pytest.raises(JournalUnavailable, match="there is no bus"):
            open_reader(bus_url)
