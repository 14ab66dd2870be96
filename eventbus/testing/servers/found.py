"""Found: programs of servers on this machine, and the user that they run as. Knows no server."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from eventbus.testing.servers.orphanage import Orphanage

_PORTS = range(15_000, 32_000)  # below those of the system, on Linux and elsewhere
_CHANCE = random.SystemRandom()


class NoServer(Exception):
    """There is no such server on this machine. Install what the message names."""


def installed_in(package: str, pattern: str) -> Iterator[Path]:
    """Files of an installed Python package, which is not imported."""
    spec = find_spec(package)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield from sorted(Path(place).glob(pattern), reverse=True)


def free_port() -> int:
    """A port of the loopback that nobody has now, and that nobody is given here for as long as this process lives.

    It is none of those that the system gives to whoever asks for any: one of them could be gone before a server has bound it, or while
    that server is down.
    """
    while True:
        port = _CHANCE.choice(_PORTS)
        claim = socket.socket(socket.AF_UNIX) if sys.platform == "linux" else socket.socket()
        try:
            if sys.platform == "linux":  # a name that processes share, and that ends with this one
                claim.bind(f"\0eventbus-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        claim.detach()  # to the end of this process
        return port


class Servant:
    """The user that a server runs as, with a folder of its own: nobody, where we are root and the server would refuse that."""

    def __init__(self) -> None:
        self._is_root = hasattr(os, "geteuid") and os.geteuid() == 0
        self.home = Path(tempfile.mkdtemp(prefix="eventbus-server-"))
        self._orphanage = Orphanage(self.home)
        if self._is_root:
            import pwd  # not on every system

            self._nobody = pwd.getpwnam("nobody")
            os.chown(self.home, self._nobody.pw_uid, self._nobody.pw_gid)

    def reach(self, programs: Path) -> Path:
        """The folder of programs, copied to where this user can run them if it cannot here."""
        program = next(programs.iterdir())
        if self._is_root and subprocess.run(["test", "-x", program], check=False, **self._as_user()).returncode:
            copy = self.home / "programs"
            shutil.copytree(programs.parent, copy, symlinks=True)
            return copy / programs.name
        return programs

    def run(self, *command: str | Path) -> None:
        """Run a program to its end. Raises `NoServer` with what it said, if it failed."""
        done = subprocess.run(command, capture_output=True, text=True, check=False, **self._as_user())
        if done.returncode:
            raise NoServer(f"{command[0]} failed: {done.stderr.strip()}")

    def start(self, *command: str | Path, log: Path) -> subprocess.Popen[bytes]:
        """Start a program that goes on; what it says goes into `log`. It does not outlive this Python, whatever ends that."""
        with log.open("ab") as file:
            server = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True, **self._as_user())
        self._orphanage.watches_over(server.pid)
        return server

    def write(self, path: Path, text: str) -> None:
        """Write a file that this user may read."""
        path.write_text(text)
        if self._is_root:
            os.chown(path, self._nobody.pw_uid, self._nobody.pw_gid)

    def make(self, folder: Path) -> None:
        """Make a folder that this user may write."""
        folder.mkdir()
        if self._is_root:
            os.chown(folder, self._nobody.pw_uid, self._nobody.pw_gid)

    def leave(self) -> None:
        """Remove the folder and what is in it. What was started has ended."""
        self._orphanage.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def _as_user(self) -> dict[str, Any]:
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
        as_user: dict[str, Any] = {"cwd": self.home, "env": environment}
        if self._is_root:
            as_user |= {"user": self._nobody.pw_uid, "group": self._nobody.pw_gid, "extra_groups": []}
        return as_user
