"""What every test shares: the event loop it runs on, and how hard Hypothesis tries.

`--loop` chooses the loop of every async test, `--eager` whether its tasks begin at once, `--hypothesis-profile` the effort. A state
machine takes its settings from `settings.get_profile("model")`, whose total of steps follows the profile, or `EVENTBUS_STEPS` when
that is set.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import cast

import pytest
from hypothesis import HealthCheck, settings

from eventbus.testing.servers import NatsServer, NoServer, PostgresServer, PrivateServer, RedisServer
from tests.backends import BACKENDS, Backend, a_bus_at

try:
    import uvloop
except ImportError:  # no wheel for this platform
    LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
else:
    LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.SelectorEventLoop}

STEPS_PER_EXAMPLE = 50
STEPS = {"quick": 500, "fast": 2_500, "suite": 2_500, "ci": 50_000, "torture": 2_000_000}

# Shared machines are slow at times: neither a deadline nor slow generation is a verdict on the code.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("fast", PATIENT, max_examples=25)
settings.register_profile("quick", PATIENT, max_examples=10, derandomize=True, database=None)
settings.register_profile("suite", PATIENT, max_examples=12, derandomize=True, database=None)
settings.register_profile("ci", PATIENT, max_examples=100, derandomize=True, database=None)
settings.register_profile("torture", PATIENT, max_examples=5_000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--loop", choices=tuple(LOOPS), default=next(iter(LOOPS)), help="event loop of the async tests")
    parser.addoption("--eager", action="store_true", help="with asyncio.eager_task_factory, of Python 3.12 and newer")


def pytest_configure(config: pytest.Config) -> None:
    profile = config.getoption("--hypothesis-profile") or "fast"
    steps = int(os.environ.get("EVENTBUS_STEPS", STEPS.get(profile, STEPS["fast"])))
    settings.load_profile(profile)
    settings.register_profile(
        "model", max_examples=max(1, steps // STEPS_PER_EXAMPLE), stateful_step_count=STEPS_PER_EXAMPLE
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """What is imported and collected stays to the end: no collection of garbage during a test walks through all of it again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def pytest_report_header(config: pytest.Config) -> str:
    return f"event loop: {config.getoption('--loop')}{', eager tasks' if config.getoption('--eager') else ''}"


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    name = config.getoption("--loop")
    return {name: eager(LOOPS[name]) if config.getoption("--eager") else LOOPS[name]}


def eager(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Callable[[], asyncio.AbstractEventLoop]:
    """A loop whose tasks take their first step where they are made."""
    factory = getattr(asyncio, "eager_task_factory", None)
    if factory is None:
        raise pytest.UsageError("--eager needs Python 3.12 or newer")

    def new_eager_loop() -> asyncio.AbstractEventLoop:
        loop = new_loop()
        loop.set_task_factory(factory)
        return loop

    return new_eager_loop


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], PrivateServer]]:
    """Gives the private server of a backend, one for the whole run. CI has one of each, whatever else it skips."""
    started: dict[str, PrivateServer] = {}

    def of(name: str) -> PrivateServer:
        if name not in started:
            started[name] = _made(BACKENDS[name])
            started[name].start()
        return started[name]

    yield of
    for server in started.values():
        server.remove()


def _made(backend: Backend) -> PrivateServer:
    try:
        return backend.server()
    except NoServer as reason:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(reason))


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each of the backends on a server, one after the other."""
    return BACKENDS[request.param]


@pytest.fixture
def server(servers: Callable[[str], PrivateServer], backend: Backend) -> PrivateServer:
    """The private server of the run for this backend. A test that kills its server starts one of its own: `own_server`."""
    return servers(backend.name)


@pytest.fixture
def own_server(backend: Backend) -> Iterator[PrivateServer]:
    """One that nobody else uses."""
    with _made(backend) as own:
        yield own


@pytest.fixture
def bus_url(server: PrivateServer) -> str:
    """A bus of its own there."""
    return a_bus_at(server)


@pytest.fixture
def postgres_server(servers: Callable[[str], PrivateServer]) -> PostgresServer:
    """For what is asked of PostgreSQL alone."""
    return cast(PostgresServer, servers("postgres"))


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """A bus of its own there."""
    return a_bus_at(postgres_server)


@pytest.fixture
def redis_server(servers: Callable[[str], PrivateServer]) -> RedisServer:
    """For what is asked of Redis alone."""
    return cast(RedisServer, servers("redis"))


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """A bus of its own there."""
    return a_bus_at(redis_server)


@pytest.fixture
def nats_server(servers: Callable[[str], PrivateServer]) -> NatsServer:
    """For what is asked of NATS alone."""
    return cast(NatsServer, servers("nats"))


@pytest.fixture
def nats_url(nats_server: NatsServer) -> str:
    """A bus of its own there."""
    return a_bus_at(nats_server)
