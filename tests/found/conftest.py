"""What the tests of faults found share: the command line as a call, journals made, closed or killed as users do, and a bus
in virtual time that each test starts and ends as its fault needs it.
"""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from eventbus import DeadLetter, Event, InMemoryEventBus, create_event_bus
from eventbus.cli import run
from eventbus.testing import VirtualLoop

Cli = Callable[..., tuple[int, str, str]]
Make = Callable[..., Path]
Letters = Callable[[Any], Awaitable[list[DeadLetter]]]

KILLED = """
import asyncio, os, signal, sys
from eventbus import Event, create_event_bus

async def main():
    async with create_event_bus("sqlite:///" + sys.argv[1]) as bus:
        for n in range(int(sys.argv[2])):
            await bus.publish(Event("told.n", payload={"n": n}, event_id=f"told-{n}"))
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command of `eventbus`: its exit code, what it printed, what it complained of."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([str(each) for each in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def kept(tmp_path: Path) -> Make:
    """Make a journal with these events, or so many, closed as it should be."""

    def make(events: Iterable[Event] | int = 20, name: str = "run.db") -> Path:
        chosen = told(events) if isinstance(events, int) else events
        asyncio.run(_publish(tmp_path / name, chosen))
        return tmp_path / name

    return make


@pytest.fixture
def killed(tmp_path: Path) -> Make:
    """Make a journal with so many acknowledged events whose process was killed: file, log and mark stand beside each other."""

    def make(count: int = 20, name: str = "run.db") -> Path:
        path = tmp_path / name
        ended = subprocess.run([sys.executable, "-c", KILLED, str(path), str(count)], check=False)
        assert ended.returncode == -9
        return path

    return make


def told(count: int) -> list[Event]:
    return [Event("told.n", payload={"n": n}, event_id=f"told-{n}") for n in range(count)]


async def _publish(path: Path, events: Iterable[Event]) -> None:
    async with create_event_bus(f"sqlite:///{path}") as bus:
        await bus.publish_many(list(events))


@pytest.fixture
async def idle_bus() -> InMemoryEventBus:
    """A bus in the time and the threads of the virtual loop, not started."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return InMemoryEventBus(clock=loop.clock, pool=loop.pool())


@pytest.fixture
def letters_of() -> Letters:
    """The dead letters of a bus, as a coroutine whatever kind of function lists them."""

    async def letters(bus: Any) -> list[DeadLetter]:
        found = bus.dead_letters.list()
        return list(await found if inspect.isawaitable(found) else found)

    return letters
