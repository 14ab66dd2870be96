"""Plugin: fixtures and markers for tests of code that runs on the bus. pytest finds it by its entry point.

    async def test_order_follows_signal(event_bus, recorder):
        Trader(event_bus)
        await event_bus.publish("signal.raised", {"symbol": "AAPL"})
        await settle()
        assert recorder.types == ["signal.raised", "order.requested"]

    async def test_gives_up_after_an_hour(event_bus, virtual_clock):
        await virtual_clock.advance(3600)          # takes no time

Async tests and fixtures are run by pytest-asyncio (1.4 or newer).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from eventbus.bus import InMemoryEventBus
from eventbus.testing.recorder import Recorder
from eventbus.testing.virtual import VirtualClock, VirtualLoop, errors_of

if TYPE_CHECKING:
    async_fixture = pytest.fixture
else:
    try:
        from pytest_asyncio import fixture as async_fixture  # in its strict mode it runs no other fixture
    except ImportError:
        async_fixture = pytest.fixture

Factories = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]

_HANDLERS_LEFT_S = 1.0  # what a handler that still runs at the end of a test is given


@async_fixture
async def event_bus(request: pytest.FixtureRequest) -> AsyncIterator[InMemoryEventBus]:
    """A started in-memory bus, shut down after the test; in virtual time if the test is.

    `@pytest.mark.event_bus(max_queue_size=2)` passes settings to it. The test fails if an error reached nobody: neither the
    code that awaited nor an outcome.
    """
    loop = asyncio.get_running_loop()
    marker = request.node.get_closest_marker("event_bus")
    settings: dict[str, Any] = dict(marker.kwargs) if marker else {}
    if isinstance(loop, VirtualLoop):
        settings = {"clock": loop.clock, "pool": loop.pool(settings.get("max_workers", 4)), **settings}
    with errors_of(loop) as errors:
        bus = InMemoryEventBus(**settings)
        await bus.connect()
        yield bus
        await bus.shutdown(timeout=_HANDLERS_LEFT_S)
    if errors:
        pytest.fail(f"errors that nobody handled: {errors}")


@pytest.fixture
def recorder(event_bus: InMemoryEventBus) -> Recorder:
    """Hears everything on `event_bus`: `recorder.types`, `recorder.of(Class)`, `await recorder.wait(3)`."""
    heard = Recorder()
    event_bus.subscribe("*", heard, name="recorder")
    return heard


@async_fixture
async def virtual_clock() -> VirtualClock:
    """The clock of a test in virtual time: `await virtual_clock.advance(60)`. Asking for it is enough to get such a loop."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        pytest.fail("virtual_clock needs a test run by pytest-asyncio 1.4 or newer")
    return loop.clock


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_asyncio_loop_factories(item: pytest.Item) -> Generator[None, Factories | None, Factories]:
    ordinary = (yield) or {"asyncio": asyncio.new_event_loop}
    marker = item.get_closest_marker("virtual_time")
    if marker is not None and not marker.kwargs.get("only", True):
        return {"virtual": VirtualLoop, **ordinary}
    wants_clock = "virtual_clock" in getattr(item, "fixturenames", ())
    return ordinary if marker is None and not wants_clock else {"virtual": VirtualLoop}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "event_bus(**settings): settings of the event_bus fixture")
    config.addinivalue_line(
        "markers",
        "virtual_time(only=True): run the async test on a loop whose clock jumps instead of sleeping; only=False: and as usual",
    )
