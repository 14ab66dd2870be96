"""Private: what every server here has in common: a folder and a port of its own, and a process that is started, stopped, killed.

Knows no backend: a subclass says which program is run, and when it is ready.
"""

from __future__ import annotations

import atexit
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from eventbus.testing.servers.found import NoServer, Servant, free_port
from eventbus.testing.servers.orphanage import kill_with_children

_PATIENCE_S = 60.0


class PrivateServer(ABC):
    """One server on a port of the loopback, of which `url` is the address. `log` is what it says."""

    stops_by = signal.SIGTERM
    """What ends it in order."""

    drops_by = signal.SIGKILL
    """What ends it at once, and leaves nothing behind."""

    def __init__(self, port: int | None) -> None:
        self._servant = Servant()
        self.port = port or free_port()
        self._data = self._servant.home / "data"
        self.log = self._servant.home / "log"
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)
        try:
            self._make()
        except BaseException:
            self.remove()
            raise

    # --- what a backend says ---------------------------------------------------------------------------------------

    @abstractmethod
    def url_at(self, port: int) -> str:
        """Its address by way of a proxy on another port."""

    @abstractmethod
    def _make(self) -> None:
        """Make its folder of data. Raises `NoServer`."""

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """What is run; called before each start."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Does it answer?"""

    # --- what is the same for all ----------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Its address, for `create_event_bus`."""
        return self.url_at(self.port)

    @property
    def pid(self) -> int:
        """Of the server's first process, while it runs."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers. Raises `NoServer` with what it said, if it does not."""
        self._process = self._servant.start(*self._command(), log=self.log)
        deadline = time.monotonic() + _PATIENCE_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NoServer(f"{type(self).__name__} did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it in order; whoever is connected is sent away."""
        self._end(self.stops_by)

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
        self._end(self.drops_by)
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

    def _end(self, how: signal.Signals | None) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        if how is None:
            kill_with_children(process.pid)
        else:
            process.send_signal(how)
        process.wait(_PATIENCE_S)
