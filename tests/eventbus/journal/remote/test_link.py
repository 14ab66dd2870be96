"""Link: who waits for a server to come back learns of it from whoever is connected first."""

from __future__ import annotations

import asyncio

import pytest

from eventbus.errors import JournalUnavailable
from eventbus.journal.remote.link import Connection, Server

pytestmark = pytest.mark.virtual_time


class Away(Server):
    """A server that refuses, until `is_back`."""

    is_back = False

    async def reach(self) -> Connection:
        if not self.is_back:
            raise OSError("refused")
        return object()

    def refusal(self, error: Exception) -> JournalUnavailable | None:
        return None

    def is_open(self, connection: Connection) -> bool:
        return True

    def abort(self, connection: Connection) -> None:
        pass


async def test_nobody_waits_on_once_one_of_them_is_connected() -> None:
    server, loop = Away("away://", 60.0), asyncio.get_running_loop()
    waiting = [asyncio.create_task(server.connect(loop.time() + 60)) for _ in range(10)]
    await asyncio.sleep(20)  # the pauses are long by now
    server.is_back = True
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    back = loop.time()
    await asyncio.gather(*waiting)
    assert loop.time() == back
    assert server.failure is None
