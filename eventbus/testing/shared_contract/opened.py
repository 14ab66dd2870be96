"""What every part of the contract starts from: two journals over one storage, each joined as a process of its own."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from eventbus.journal.shared import SharedJournal

MakeShared = Callable[[], SharedJournal]
MakeAt = Callable[[int], SharedJournal]
Two = tuple[SharedJournal, SharedJournal]

BRIEF = 1.5
LONG = 600.0
"""Seconds that a lease lasts: where it is to run out, and where it is not, however busy the machine."""

PATIENCE_S = 120.0  # for what a healthy machine does in a moment
_LOOK_S = 0.02


class Shared:
    """Fixtures of a contract. `make` gives a journal that is not open yet; called again, another one over the same storage."""

    @pytest.fixture
    def make(self) -> MakeShared:
        raise NotImplementedError("a backend brings its own")

    @pytest.fixture
    def port(self) -> int:
        raise NotImplementedError("a backend says where its server is")

    @pytest.fixture
    def make_at(self) -> MakeAt:
        raise NotImplementedError("a backend brings its own")

    @pytest.fixture
    async def two(self, make: MakeShared) -> AsyncIterator[Two]:
        async with joined(make) as one, joined(make) as other:
            yield one, other

    @pytest.fixture
    async def brief(self, make: MakeShared) -> AsyncIterator[Two]:
        """The same. What the first holds runs out soon; the second keeps what it takes over."""
        async with joined(make, BRIEF) as one, joined(make) as other:
            yield one, other


@asynccontextmanager
async def joined(make: MakeShared, ttl: float = LONG) -> AsyncIterator[SharedJournal]:
    """A journal that is open and joined under a name of its own."""
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(make())
        await journal.join(f"process-{secrets.token_hex(4)}", ttl)
        yield journal


async def until(is_so: Callable[[], Awaitable[object]]) -> None:
    """Wait until a server says so. Raises `TimeoutError` if it never does."""
    async with asyncio.timeout(PATIENCE_S):
        while not await is_so():  # noqa: ASYNC110 - it is another process that makes it so
            await asyncio.sleep(_LOOK_S)
