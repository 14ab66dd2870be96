"""A server of a test ends with it: killed with every child, and even when the Python that started it is killed itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from eventbus.testing.servers.orphanage import kill_with_children

PATIENCE_S = 120.0

FORKS = """
import os, time
while True:
    if not os.fork():
        time.sleep(60)
        os._exit(0)
    print("one", flush=True)
    time.sleep(0.0005)
"""

STARTS = """
from eventbus.testing.servers import PostgresServer
server = PostgresServer()
server.start()
server.restart()
print(server.pid, server._servant.home, flush=True)
input()
"""


def until(is_so: Callable[[], bool]) -> None:
    """Wait for what other processes do."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("attempt", range(3))
def test_no_child_outlives_the_kill_though_one_is_born_all_the_time(attempt: int) -> None:
    ours, theirs = os.pipe()
    parent = subprocess.Popen([sys.executable, "-c", FORKS], stdout=subprocess.PIPE, pass_fds=[theirs])
    os.close(theirs)
    assert parent.stdout is not None
    for _ in range(5 + attempt):
        parent.stdout.readline()
    kill_with_children(parent.pid)
    parent.wait(PATIENCE_S)
    parent.stdout.close()
    os.set_blocking(ours, False)
    assert os.read(ours, 1) == b"", "somebody still has the other end"
    os.close(ours)


@pytest.mark.server
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_does_not_outlive_the_python_that_started_it(number: signal.Signals) -> None:
    python = subprocess.Popen([sys.executable, "-c", STARTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert python.stdout is not None
    pid, home = python.stdout.readline().split()
    assert is_alive(int(pid))
    python.send_signal(number)
    python.communicate()
    until(lambda: not is_alive(int(pid)))
    until(lambda: not Path(home).exists())
