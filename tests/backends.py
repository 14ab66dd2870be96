"""Backends: the kinds of servers that tests run over. What holds for every one of them is one test, by the fixture `backend`.

Whoever writes a backend adds an entry here; the tests in `tests/eventbus/journal/remote` and `tests/processes` are then run over it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pytest

from eventbus import BackendDataLoss, EventBusError, JournalUnavailable
from eventbus.journal.backends import journal_at
from eventbus.journal.remote.journal import RemoteJournal
from eventbus.testing.journal_contract import item, items, offsets
from eventbus.testing.servers import NatsServer, PostgresServer, PrivateServer, RedisServer, nats
from eventbus.testing.servers.postgres import DATABASE, PASSWORD, USER
from eventbus.testing.servers.redis import PASSWORD as REDIS_PASSWORD
from eventbus.testing.shared_contract.opened import PATIENCE_S, until


@dataclass(frozen=True)
class Backend:
    """One kind of server."""

    name: str
    """As `create_event_bus` and the extra call it."""

    driver: str
    """The module without which it is not there."""

    server: Callable[[], PrivateServer]
    """Makes one that is not started yet. Raises `NoServer`."""

    parts: Callable[[PrivateServer], dict[str, Any]]
    """Its address in a dict of settings, part by part."""


def _postgres() -> PrivateServer:
    version = os.environ.get("EVENTBUS_POSTGRES")
    return PostgresServer(version=None if version is None else int(version))


def _postgres_parts(server: PrivateServer) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": server.port, "user": USER, "password": PASSWORD, "db": DATABASE}


def _nats_parts(server: PrivateServer) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": server.port, "user": nats.USER, "password": nats.PASSWORD}


def _redis() -> PrivateServer:
    version = os.environ.get("EVENTBUS_REDIS")
    return RedisServer(version=None if version is None else int(version))


def _redis_parts(server: PrivateServer) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": server.port, "password": REDIS_PASSWORD, "db": 0}


BACKENDS: Mapping[str, Backend] = {
    "nats": Backend("nats", "nats", NatsServer, _nats_parts),
    "postgres": Backend("postgres", "asyncpg", _postgres, _postgres_parts),
    "redis": Backend("redis", "redis", _redis, _redis_parts),
}

over_one_and_long_over_others = pytest.mark.parametrize(
    "backend",
    [pytest.param(each, marks=() if each == "postgres" else pytest.mark.long) for each in sorted(BACKENDS)],
    indirect=True,
)
"""For what takes several processes, while each journal is held to the same contract in one."""


def a_bus_at(server: PrivateServer) -> str:
    """The address of a bus that nobody else uses."""
    return f"{server.url}?name=bus_{secrets.token_hex(6)}"


def name_of(url: str) -> str:
    """The name of the bus at that address."""
    return url.partition("name=")[2].partition("&")[0]


def at(url: str) -> RemoteJournal:
    """The journal at that address, not open yet; patient, where the address does not say how long a call may take."""
    settings = {} if "timeout_s=" in url else {"timeout_s": PATIENCE_S}
    return cast(RemoteJournal, journal_at(url, **settings))


async def refusal(url: str, **settings: Any) -> EventBusError:
    """Why it cannot be opened: it says so, however long a call may take."""
    if "timeout_s=" not in url:
        settings = {"timeout_s": 10 * PATIENCE_S, **settings}
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(EventBusError) as refused:
            await journal_at(url, **settings).open()
    return refused.value


async def loss_of(journal: RemoteJournal) -> BackendDataLoss:
    """What it says that was lost, once it has noticed."""
    told: list[BackendDataLoss] = []

    async def has_noticed() -> bool:
        try:
            await journal.read(0)
        except BackendDataLoss as loss:
            told.append(loss)
        except JournalUnavailable:
            pass
        return bool(told)

    await until(has_noticed)
    return told[0]


async def a_group_beyond_the_first(url: str) -> None:
    """Three records, and a group that settled all of them: then the server is to lose the last two."""
    async with at(url) as journal:
        await journal.append(items(1, 3))
        await journal.open_group("g", "beginning")
        await journal.commit("g", skip=[(1, 3)])


async def goes_on_after_the_first(url: str) -> None:
    """A fresh process finds that, refuses to go on, and does once it is accepted."""
    async with at(url) as fresh:
        with pytest.raises(BackendDataLoss):
            await fresh.append([item(9)])
        await fresh.accept_data_loss()
        cursor = await fresh.committed("g")
        assert cursor is not None
        assert cursor.floor == 1
        assert offsets(await fresh.append([item(9)])) == [2]
