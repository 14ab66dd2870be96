"""Processes of the operating system over one private server, and the log that all of them write."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

WORKER = Path(__file__).with_name("worker.py")
PATIENCE_S = 120.0  # for what a healthy machine does in a moment


class Line(NamedTuple):
    """What a process wrote."""

    pid: int
    what: str
    words: tuple[str, ...]


class Fleet:
    """Processes that share a bus."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._log = folder / "log"
        self._log.touch()
        self._errors = folder / "errors"
        self._read = 0
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self.lines: list[Line] = []

    def start(self, **config: Any) -> int:
        """One more; gives its pid."""
        said = {"url": self.url, "log": str(self._log), **config}
        with self._errors.open("a") as errors:
            process = subprocess.Popen(
                [sys.executable, WORKER, json.dumps(said)], stdin=subprocess.PIPE, stderr=errors, text=True
            )
        self._processes[process.pid] = process
        return process.pid

    def send(self, pid: int, *words: object) -> None:
        """Tell it to do something."""
        stdin = self._processes[pid].stdin
        assert stdin is not None
        stdin.write(" ".join(map(str, words)) + "\n")
        stdin.flush()

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Kill it, stop it, let it go on."""
        os.kill(pid, number)
        if number is signal.SIGKILL:
            self.wait(pid)

    def wait(self, pid: int) -> int:
        """Until it has ended; gives its exit code."""
        process = self._processes.pop(pid)
        code = process.wait(PATIENCE_S)
        with contextlib.suppress(BrokenPipeError):
            process.communicate()
        return code

    def end(self) -> None:
        """Of all that still run."""
        for pid, process in [*self._processes.items()]:
            process.kill()
            self.wait(pid)

    # --- what they wrote -------------------------------------------------------------------------------------------

    def look(self) -> list[Line]:
        """Everything so far."""
        with self._log.open() as log:
            log.seek(self._read)
            text = log.read()
        whole = text[: text.rfind("\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            pid, what, *words = line.split()
            self.lines.append(Line(int(pid), what, tuple(words)))
        return self.lines

    def of(self, what: str, pid: int | None = None) -> list[tuple[str, ...]]:
        """The words of all lines of a kind, of one process or of all."""
        return [line.words for line in self.look() if line.what == what and pid in (None, line.pid)]

    async def until(self, is_so: Callable[[], object], *, seconds: float = PATIENCE_S) -> None:
        """Wait for something that processes do."""
        deadline = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > deadline:
                counts = Counter(line.what for line in self.lines)
                pytest.fail(f"not within {seconds:g} s: {dict(counts)}\n{self._errors.read_text()[-3000:]}")
            await asyncio.sleep(0.02)

    async def ready(self, *pids: int) -> None:
        """They are connected and subscribed."""
        await self.until(lambda: all(self.of("ready", pid) for pid in pids))

    def in_flight(self, pid: int) -> int:
        """Deliveries that it began and did not end."""
        return len(self.of("began", pid)) - len(self.of("ended", pid))

    def handled(self) -> set[int]:
        """Steps that ended somewhere."""
        return {int(words[0]) for words in self.of("ended")}

    def firsts(self) -> dict[str, list[int]]:
        """By account, the steps in the order in which their first attempts began."""
        found: dict[str, list[int]] = {}
        seen = set[int]()
        for n, account, *_ in self.of("began"):
            if int(n) not in seen:
                seen.add(int(n))
                found.setdefault(account, []).append(int(n))
        return found

    def must_be_in_order(self) -> None:
        """First attempts of one account began in order of acceptance."""
        offsets = {int(n): int(offset) for n, offset in self.of("kept")}
        for account, steps in self.firsts().items():
            places = [offsets[n] for n in steps if n in offsets]
            assert places == sorted(places), f"{account} out of order"
