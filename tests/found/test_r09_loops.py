"""R9 and R14: a bus belongs to the loop it runs on, and to the process; after it stopped another loop may have it."""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus, Retry, WrongLoop
from eventbus.testing import Recorder, VirtualLoop, settle


class OrderPlaced(Event, type="found.loops.order"):
    n: int = 0


class Fuse(logging.Filter):
    """Ends the running loop when the bus has said too much: a supervisor that restarts for ever fails instead of hanging."""

    records = 0

    def filter(self, record: logging.LogRecord) -> bool:
        self.records += 1
        if self.records > 10:
            asyncio.get_running_loop().stop()
        return self.records <= 10


@pytest.fixture(autouse=True)
def fuse() -> Iterator[Fuse]:
    fuse, log = Fuse(), logging.getLogger("eventbus")
    log.addFilter(fuse)
    yield fuse
    log.removeFilter(fuse)


def run(main: Coroutine[Any, Any, Any], loop: Callable[[], asyncio.AbstractEventLoop] = VirtualLoop) -> Any:
    """As `asyncio.run`, in virtual time; what hangs fails."""

    async def bounded() -> Any:
        async with asyncio.timeout(3600 if loop is VirtualLoop else 60):
            return await main

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(bounded())


async def one_run(bus: InMemoryEventBus, *numbers: int) -> None:
    """Run the bus, let it handle what is pending and some events more, stop it."""
    running = asyncio.create_task(bus.run_forever())
    try:
        await settle()
        for n in numbers:
            await bus.publish(OrderPlaced(n=n))
        assert await bus.drain(timeout=60)
    finally:
        bus.stop()
        (ended,) = await asyncio.gather(running, return_exceptions=True)
    assert ended is None


async def nothing(_event: OrderPlaced) -> None:
    """Handled."""


async def turns(_event: OrderPlaced) -> None:
    await asyncio.sleep(0.01)


WAYS: list[dict[str, Any]] = [
    {},
    {"retry": Retry(attempts=2)},
    {"timeout": 5},
    {"concurrency": 3},
    {"key": "n", "concurrency": 2},
    {"isolation": "task"},
    {"queue_size": 2},
]


@pytest.mark.parametrize("does", [nothing, turns])
@pytest.mark.parametrize("policy", WAYS, ids=str)
def test_a_bus_that_stopped_works_under_the_next_asyncio_run(
    policy: dict[str, Any], does: Callable[[OrderPlaced], Any], fuse: Fuse
) -> None:
    bus, heard = InMemoryEventBus(), Recorder(does)
    bus.subscribe(OrderPlaced, heard, **policy)
    for round in range(3):
        run(one_run(bus, 2 * round, 2 * round + 1))
    assert sorted(heard.values("n")) == [0, 1, 2, 3, 4, 5]
    assert fuse.records == 0


def test_a_sync_handler_works_under_the_next_asyncio_run() -> None:
    bus, seen = InMemoryEventBus(), list[int]()
    bus.subscribe(OrderPlaced, lambda event: seen.append(event.n))
    for n in range(2):
        run(one_run(bus, n), asyncio.SelectorEventLoop)
    assert seen == [0, 1]


def test_what_was_pending_goes_on_under_the_next_asyncio_run() -> None:
    bus, heard = InMemoryEventBus(), Recorder()
    subscription = bus.subscribe(OrderPlaced, heard)

    async def leave_some() -> None:
        running = asyncio.create_task(bus.run_forever())
        await settle()
        subscription.pause()
        for n in range(2):
            await bus.publish(OrderPlaced(n=n))
        await settle()
        await bus.publish(OrderPlaced(n=2))
        bus.stop()
        await running

    run(leave_some())
    subscription.resume()
    run(one_run(bus, 3))
    assert heard.values("n") == [0, 1, 2, 3]
    assert subscription.stats().pending == 0


def test_a_retry_that_waited_goes_on_under_the_next_asyncio_run() -> None:
    bus, attempts = InMemoryEventBus(), list[int]()

    async def fail_once(event: OrderPlaced) -> None:
        attempts.append(event.n)
        if len(attempts) == 1:
            raise OSError("not yet")

    subscription = bus.subscribe(OrderPlaced, fail_once, retry=Retry(attempts=3, delay=20, jitter=False))

    async def leave_it_waiting() -> None:
        running = asyncio.create_task(bus.run_forever())
        await settle()
        await bus.publish(OrderPlaced(n=7))
        await settle()
        bus.stop()
        await running

    run(leave_it_waiting())
    assert attempts == [7]
    run(one_run(bus))
    assert attempts == [7, 7]
    assert (subscription.stats().succeeded, subscription.stats().pending) == (1, 0)


def test_publishers_that_waited_at_the_door_of_the_first_loop_do_not_stand_in_the_second() -> None:
    bus, heard = InMemoryEventBus(max_queue_size=2), Recorder()
    subscription = bus.subscribe(OrderPlaced, heard)

    async def fill() -> None:
        running = asyncio.create_task(bus.run_forever())
        await settle()
        subscription.pause()
        for n in range(2):
            await bus.publish(OrderPlaced(n=n))
        waiting = asyncio.create_task(bus.publish(OrderPlaced(n=99)))
        await settle()
        bus.stop()
        await running
        waiting.cancel()
        await asyncio.wait([waiting])

    run(fill())
    subscription.resume()
    run(one_run(bus, 2, 3, 4, 5))
    assert heard.values("n") == [0, 1, 2, 3, 4, 5]


def test_a_stream_is_read_on_under_the_next_asyncio_run() -> None:
    bus = InMemoryEventBus()
    stream = bus.stream(OrderPlaced)

    async def read(n: int) -> int:
        running = asyncio.create_task(bus.run_forever())
        await settle()
        await bus.publish(OrderPlaced(n=n))
        event = await anext(aiter(stream))
        bus.stop()
        await running
        return int(event["n"])

    assert [run(read(1)), run(read(2))] == [1, 2]


def test_connect_and_stop_work_under_the_next_asyncio_run() -> None:
    bus, heard = InMemoryEventBus(), Recorder()
    bus.subscribe(OrderPlaced, heard)

    async def once(n: int) -> None:
        await bus.connect()
        assert await bus.publish_and_wait(OrderPlaced(n=n)) == []
        bus.stop()

    for n in range(3):
        run(once(n))
    assert heard.values("n") == [0, 1, 2]


def test_a_run_that_its_loop_cancelled_may_be_followed_by_one_on_another_loop() -> None:
    bus, heard = InMemoryEventBus(), Recorder()
    bus.subscribe(OrderPlaced, heard)

    async def leave_it_running() -> None:
        running = asyncio.create_task(bus.run_forever())
        await settle()
        assert await bus.publish_and_wait(OrderPlaced(n=1)) == []
        assert not running.done()

    run(leave_it_running())
    run(one_run(bus, 2))
    assert heard.values("n") == [1, 2]


def test_a_bus_that_stopped_may_run_on_another_loop_though_the_first_is_still_open() -> None:
    bus, heard = InMemoryEventBus(), Recorder()
    bus.subscribe(OrderPlaced, heard)
    with asyncio.Runner(loop_factory=VirtualLoop) as first, asyncio.Runner(loop_factory=VirtualLoop) as second:
        first.run(one_run(bus, 1))
        second.run(one_run(bus, 2))
        first.run(one_run(bus, 3))
    assert heard.values("n") == [1, 2, 3]


async def publish(bus: InMemoryEventBus) -> None:
    await bus.publish(OrderPlaced())


async def publish_nowait(bus: InMemoryEventBus) -> None:
    bus.publish_nowait(OrderPlaced())


async def publish_and_wait(bus: InMemoryEventBus) -> None:
    await bus.publish_and_wait(OrderPlaced())


async def request(bus: InMemoryEventBus) -> None:
    await bus.request(OrderPlaced(), timeout=60)


async def run_forever(bus: InMemoryEventBus) -> None:
    await bus.run_forever()


async def connect(bus: InMemoryEventBus) -> None:
    await bus.connect()


async def drain(bus: InMemoryEventBus) -> None:
    await bus.drain(timeout=60)


async def expect(bus: InMemoryEventBus) -> None:
    await bus.expect(OrderPlaced, timeout=60)


async def shutdown(bus: InMemoryEventBus) -> None:
    await bus.shutdown(timeout=60)


async def threadsafe(bus: InMemoryEventBus) -> None:
    bus.publish_threadsafe(OrderPlaced())


USES = [publish, publish_nowait, publish_and_wait, request, run_forever, connect, drain, expect, shutdown]


@pytest.mark.parametrize("use", USES)
def test_while_it_runs_on_one_loop_another_is_refused(use: Callable[[InMemoryEventBus], Any]) -> None:
    bus = InMemoryEventBus()

    async def start() -> None:
        await bus.connect()
        bus.subscribe(OrderPlaced, turns)
        await bus.publish(OrderPlaced())  # so that there is something to drain

    async def elsewhere() -> None:
        with pytest.raises(WrongLoop):
            await use(bus)

    async def end() -> None:
        await bus.shutdown(timeout=60)

    with asyncio.Runner(loop_factory=VirtualLoop) as first:
        first.run(start())
        run(elsewhere())
        first.run(end())


# --- another process -------------------------------------------------------------------------------------------------


def told_by_child(use: Callable[[], None]) -> str:
    """What came of it in a forked child: "fine", or the name of the error."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that other threads of this process do not come along
        pid = os.fork()
    if pid == 0:
        told = "fine"
        try:
            use()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent judges it
            told = type(error).__name__
        finally:
            os.write(writing, told.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        told = answer.read()
    os.waitpid(pid, 0)
    return told


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")


@forks
@pytest.mark.parametrize("use", [*USES, threadsafe])
def test_in_a_forked_child_a_bus_that_ran_is_refused(use: Callable[[InMemoryEventBus], Any]) -> None:
    bus = InMemoryEventBus()
    bus.subscribe(OrderPlaced, nothing)

    async def fork_while_it_runs() -> str:
        await bus.connect()
        await bus.publish_and_wait(OrderPlaced())
        told = told_by_child(lambda: run(use(bus)))
        await bus.shutdown()
        return told

    assert run(fork_while_it_runs()) == "WrongProcess"


@forks
@pytest.mark.parametrize("use", [publish, publish_nowait, run_forever, connect, threadsafe])
def test_in_a_forked_child_a_bus_that_ran_and_stopped_is_refused(use: Callable[[InMemoryEventBus], Any]) -> None:
    bus = InMemoryEventBus()
    bus.subscribe(OrderPlaced, nothing)
    run(one_run(bus, 1))
    assert told_by_child(lambda: run(use(bus))) == "WrongProcess"


@forks
def test_in_a_forked_child_a_bus_that_never_ran_works() -> None:
    bus, heard = InMemoryEventBus(), Recorder()
    bus.subscribe(OrderPlaced, heard)
    bus.publish_nowait(OrderPlaced(n=1))

    def use() -> None:
        run(one_run(bus, 2))
        assert heard.values("n") == [1, 2]

    assert told_by_child(use) == "fine"
    assert heard.values("n") == []


@forks
def test_the_parent_goes_on_after_a_child_used_its_bus() -> None:
    bus, heard = InMemoryEventBus(), Recorder()
    bus.subscribe(OrderPlaced, heard)

    async def main() -> None:
        await bus.connect()
        told_by_child(lambda: run(publish(bus)))
        assert await bus.publish_and_wait(OrderPlaced(n=3)) == []
        await bus.shutdown()

    run(main())
    assert heard.values("n") == [3]
