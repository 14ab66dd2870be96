"""What a window on the bus does in a fork of its process, which has none of the threads that it started."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

FORKING = """
import asyncio, logging, os, sys
from eventbus import InMemoryEventBus
from eventbus.observability import LoopWatchdog, MetricsCollector, configure_logging, serve_metrics

def child(act):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            print(act(), flush=True)
        except BaseException as error:
            print(type(error).__name__, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)

def published(page):
    return [line.rpartition(" ")[2] for line in page.splitlines() if line.startswith("eventbus_published_events_total")]
"""


def printed(program: str, *arguments: str) -> list[str]:
    """What a program and its children printed; each runs in a process of its own, which has no other threads."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING + textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_what_a_child_logs_is_written_and_no_line_twice(tmp_path: Path) -> None:
    path = tmp_path / "log"
    program = """
    sink = configure_logging("json", stream=open(sys.argv[1], "a"))
    log = logging.getLogger("forked")
    def act():
        log.info("in the child")
        sink.flush()
        sink.close()
    for n in range(3):
        log.info("in the parent")
        child(act)
    sink.close()
    """
    printed(program, str(path))
    lines = path.read_text().splitlines()
    assert sum("in the child" in line for line in lines) == 3
    assert sum("in the parent" in line for line in lines) == 3


@pytest.mark.parametrize("parent", ["", "configured", "busy"])
def test_a_child_sets_up_logging_of_its_own_and_is_told_what_failed_there(tmp_path: Path, parent: str) -> None:
    """Whatever the parent had: no logging of ours, a sink, or one whose thread is at work as it forks."""
    path = tmp_path / "child.log"
    program = """
    parent = sys.argv[2] and configure_logging("json", stream=open(os.devnull, "w"))
    log = logging.getLogger("forked")
    async def fails(event):
        raise ValueError("no such customer")
    async def use():
        bus = InMemoryEventBus()
        bus.subscribe("order.placed", fails, name="billing")
        async with bus:
            await bus.publish_and_wait("order.placed", {"number": 1})
    def act():
        sink = configure_logging("json", stream=open(sys.argv[1], "a"))
        log.info("in the child")
        asyncio.run(use())
        sink.close()
    for _ in range(200 if sys.argv[2] == "busy" else 0):
        log.info("in the parent")
    child(act)
    if parent:
        parent.close()
    """
    assert printed(program, str(path), parent) == ["None"]
    first, failed = map(json.loads, path.read_text().splitlines())
    assert first["message"] == "in the child"
    assert failed["subscription"] == "billing"
    assert "ValueError: no such customer (in fails, <string>:" in failed["error"]
    frames = [line for line in failed["exception"].splitlines() if line.lstrip().startswith("File")]
    assert len(frames) == 1, "the user's, and none of ours"


def test_the_page_of_a_bus_that_runs_in_the_parent_is_what_it_was() -> None:
    program = """
    async def main():
        async with InMemoryEventBus() as bus:
            await bus.publish_and_wait("forked.before")
            collector = MetricsCollector(bus)
            await bus.publish_and_wait("forked.before")
            collector.text()
            child(lambda: (published(collector.text()), bus.is_running, bus.loop))
    asyncio.run(main())
    """
    assert printed(program) == ["(['2.0'], False, None)"]


@pytest.mark.parametrize("where", ["plain", "in_a_loop"])
def test_the_page_of_a_bus_that_never_ran_is_of_the_child(where: str) -> None:
    program = """
    bus = InMemoryEventBus()
    async def use(collector):
        async with bus:
            await bus.publish_and_wait("forked.after")
            return published(collector.text())
    async def in_a_loop():
        collector = MetricsCollector(bus)
        child(lambda: asyncio.run(use(collector)))
    def plain():
        collector = MetricsCollector(bus)
        child(lambda: asyncio.run(use(collector)))
    plain() if sys.argv[1] == "plain" else asyncio.run(in_a_loop())
    """
    assert printed(program, where) == ["['1.0']"]


def test_a_server_of_the_parent_is_closed_in_the_child_and_goes_on_in_the_parent() -> None:
    program = """
    import urllib.request
    with serve_metrics(InMemoryEventBus(), 0) as server:
        child(server.close)
        with urllib.request.urlopen(server.url, timeout=60) as answer:
            print(published(answer.read().decode()))
    """
    assert printed(program) == ["None", "['0.0']"]


def test_a_watchdog_of_the_parent_is_stopped_in_the_child_and_refused_to_start_there() -> None:
    program = """
    async def main():
        async with InMemoryEventBus() as bus:
            with LoopWatchdog(bus) as watchdog:
                child(watchdog.start)
                child(watchdog.stop)
    asyncio.run(main())
    """
    assert printed(program) == ["WrongProcess", "None"]


def test_a_watchdog_that_was_not_started_watches_in_the_child() -> None:
    program = """
    import time
    watchdog = LoopWatchdog(InMemoryEventBus(), 0.1)
    async def use():
        with watchdog:
            while not watchdog.count:
                time.sleep(0.2)
                await asyncio.sleep(0)
        return watchdog.count > 0
    child(lambda: asyncio.run(use()))
    """
    assert printed(program) == ["True"]
