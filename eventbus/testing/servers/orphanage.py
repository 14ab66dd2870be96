"""Orphanage: ends servers whose Python is gone, however that ended: a program of its own, which waits for the end of its input.

Run by path, with the folder of their files. It is told their pids, a line for each; an empty line says that it is not needed any more.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_PATIENCE_S = 10.0
_LOOK_S = 0.001


class Orphanage:
    """Of the servers whose files are in one folder."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._program: subprocess.Popen[str] | None = None

    def watches_over(self, pid: int) -> None:
        """That server is to end with this Python."""
        if self._program is None:
            command = [sys.executable, "-I", "-S", __file__, str(self._home)]
            self._program = subprocess.Popen(command, stdin=subprocess.PIPE, cwd="/", start_new_session=True, text=True)
        self._say(f"{pid}\n")

    def close(self) -> None:
        """All of them have ended."""
        if self._program is not None:
            self._say("\n")
            self._program.communicate()
            self._program = None

    def _say(self, line: str) -> None:
        assert self._program is not None
        assert self._program.stdin is not None
        with suppress(BrokenPipeError):
            self._program.stdin.write(line)
            self._program.stdin.flush()


def kill_with_children(pid: int) -> None:
    """SIGKILL a process and its children, which need not be of its group, and wait until they are dead.

    It is stopped first, and not before it has stopped is it asked for its children: one may be born until then.
    """
    os.kill(pid, signal.SIGSTOP)
    _wait_for(lambda: _state(pid) not in "RSD")
    children = children_of(pid)
    for each in (*children, pid):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    _wait_for(lambda: all(_state(each) in "ZX" for each in children))


def children_of(pid: int) -> list[int]:
    """The processes that this one started and that are alive."""
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                children.append(int(stat.parent.name))
    return children


def _state(pid: int) -> str:
    """One letter, as in proc(5); X of one that is not there."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not is_so() and time.monotonic() < deadline:
        time.sleep(_LOOK_S)


def main(home: Path) -> None:
    """Take pids until the input ends; what still runs then has nobody any more."""
    servers: dict[int, int] = {}  # with what tells whether it is still that process
    for line in sys.stdin:
        if not line.strip():
            return
        for pid in [pid for pid, known in servers.items() if not _is_alive(known)]:
            os.close(servers.pop(pid))
        with suppress(ProcessLookupError):
            servers[int(line)] = os.pidfd_open(int(line))
    for pid, known in servers.items():
        if _is_alive(known):
            kill_with_children(pid)
    shutil.rmtree(home, ignore_errors=True)


def _is_alive(known: int) -> bool:
    try:
        signal.pidfd_send_signal(known, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]))
