"""A server that is killed, down, or put back to an older copy, whatever server it is: nothing is lost, or it is said."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import pytest

from eventbus import (
    BackendDataLoss,
    Event,
    EventBus,
    EventBusError,
    JournalUnavailable,
    PublishTimeout,
    create_event_bus,
)
from eventbus.durability.record import as_record
from eventbus.journal.remote.cursors import Row
from eventbus.journal.remote.journal import RemoteJournal
from eventbus.journal.shared import Part
from eventbus.journal.values import Append, Settled
from eventbus.testing import Recorder
from eventbus.testing.journal_contract import item, items, offsets
from eventbus.testing.servers import PrivateServer
from eventbus.testing.shared_contract.faults import again
from eventbus.testing.shared_contract.opened import until
from tests.backends import at, loss_of

pytestmark = pytest.mark.server


async def test_what_was_acknowledged_survives_kills_of_the_server(own_server: PrivateServer) -> None:
    async with at(own_server.url) as journal:
        await journal.join("me", 600)
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
            await asyncio.to_thread(own_server.kill)
            await asyncio.to_thread(own_server.start)
        is_over = True
        await publishing
        records = await journal.read(0, 100_000)
        assert offsets(records) == [*range(1, len(records) + 1)]
        assert {record.event_id: record.offset for record in records}.items() >= acknowledged.items()
        assert (await journal.verify()).records == len(records)


async def test_a_server_that_is_down_is_waited_for_and_then_told(own_server: PrivateServer) -> None:
    async with at(f"{own_server.url}?timeout_s=2") as journal:
        await again(lambda: journal.append([item(1)]))
        own_server.stop()
        with pytest.raises(JournalUnavailable):
            await again_refused(journal)
        with pytest.raises(PublishTimeout):
            await journal.append([item(2)])
        assert journal.stats().failure
        own_server.start()
        assert offsets(await again(lambda: journal.append([item(2)]))) == [2]
        assert journal.stats().failure is None


async def again_refused(journal: RemoteJournal) -> None:
    for _ in range(3):
        await journal.read(0)


async def test_a_server_put_back_to_an_older_copy_is_noticed_and_accepted_once_told(
    own_server: PrivateServer, tmp_path: Path
) -> None:
    async with at(own_server.url) as journal:
        await journal.append(items(1, 3))
        await journal.open_group("g", "beginning")
    own_server.stop()
    own_server.copy_to(tmp_path / "copy")
    own_server.start()
    async with at(f"{own_server.url}?poll=0.1") as journal:
        await journal.append(items(4, 6))
        await journal.commit("g", [Settled(offset) for offset in (1, 2, 3, 4, 6)])
        own_server.stop()
        own_server.put_back(tmp_path / "copy")
        own_server.start()
        told = await loss_of(journal)
        assert (told.expected, told.found) == ("offset 6", "offset 3")
        with pytest.raises(BackendDataLoss):
            await journal.append([item(7)])
        with pytest.raises(BackendDataLoss):
            await journal.wait(6, timeout=0) or await journal.read(6)
        await journal.accept_data_loss()
        assert offsets(await journal.read(0)) == [1, 2, 3]
        assert offsets(await journal.append([item(7)])) == [4]
    async with at(own_server.url) as fresh:
        assert fresh.last == 4


async def test_over_a_server_put_back_under_a_running_bus_nothing_is_handled_until_that_is_accepted(
    own_server: PrivateServer, tmp_path: Path
) -> None:
    url, heard, grouped = f"{own_server.url}?poll=0.1&lease=30", Recorder(), Recorder()
    async with make_copy(own_server, tmp_path / "copy"), create_event_bus(url) as bus:
        bus.subscribe("t.*", heard)
        await bus.subscribe("t.*", grouped, group="books")
        for n in range(3, 6):
            await bus.publish("t.x", {"n": n})
        await bus.drain()
        own_server.stop()
        own_server.put_back(tmp_path / "copy")
        own_server.start()

        async def is_refused() -> bool:
            try:
                await bus.publish("t.x", {"n": 6})
            except BackendDataLoss:
                return True
            except EventBusError:
                return False
            return False

        await until(is_refused)
        async with at(own_server.url) as journal:  # another process goes on, and writes where this one had been
            await journal.append([as_record(Event("t.x", payload={"n": n})) for n in range(10, 16)])
            await until(lambda: told_of_loss(bus))
        assert heard.values("n") == grouped.values("n") == [3, 4, 5]
        await bus.accept_data_loss()
        await again(lambda: bus.publish("t.x", {"n": 20}))
        await until(lambda: said(20 in grouped.values("n") and 20 in heard.values("n")))
        assert heard.values("n") == [3, 4, 5, 20]
        assert grouped.values("n") == [3, 4, 5, *range(10, 16), 20]  # it goes on from where the copy had it


@contextlib.asynccontextmanager
async def make_copy(server: PrivateServer, folder: Path) -> AsyncIterator[None]:
    """Of a bus with three events, of which a group has finished all."""
    done = Recorder()
    async with create_event_bus(server.url) as bus:
        await bus.subscribe("t.*", done, group="books")
        for n in range(3):
            await bus.publish("t.x", {"n": n})
        await bus.drain()
    server.stop()
    server.copy_to(folder)
    server.start()
    yield


async def told_of_loss(bus: EventBus) -> bool:
    """Does it still refuse?"""
    try:
        await bus.journal.read(0)
    except BackendDataLoss:
        return True
    except JournalUnavailable:
        return False
    return False


async def said(is_so: bool) -> bool:
    return is_so


async def test_a_cursor_that_moved_while_a_process_opens_is_no_loss(bus_url: str) -> None:
    async with at(bus_url) as journal:
        await journal.append([item(1)])
        await journal.open_group("g", "beginning")
        fresh = at(bus_url)
        shelf: Any = fresh._storage.shelf
        fetch = shelf.fetch

        async def later(names: Collection[str] | None) -> list[Row]:
            await journal.append([item(2)])
            await journal.commit("g", skip=[(1, 2)])
            rows: list[Row] = await fetch(names)
            return rows

        shelf.fetch = later
        async with fresh:
            shelf.fetch = fetch
            assert offsets(await fresh.read(0)) == [1, 2]


async def test_hints_come_long_before_the_poll(bus_url: str) -> None:
    async with at(f"{bus_url}&poll=600") as journal, at(bus_url) as other:
        waiting = asyncio.ensure_future(journal.wait(0, timeout=60))
        while not waiting.done():  # until it listens
            await other.append([item(other.last + 1)])
            await asyncio.wait([waiting], timeout=0.1)
        assert await waiting
