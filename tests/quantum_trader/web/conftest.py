"""What tests of the trader's web share: a gateway that ends with the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from eventbus.testing.gateway import Served, serve_here


@pytest.fixture
async def serving() -> AsyncIterator[Callable[..., Awaitable[Served]]]:
    """Serve a bus, a new one in memory unless given; see `serve_here`."""
    async with AsyncExitStack() as ends:

        async def start(*args: Any, **options: Any) -> Served:
            served = await serve_here(*args, **options)
            ends.push_async_callback(served.stop)
            return served

        yield start
