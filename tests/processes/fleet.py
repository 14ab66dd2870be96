"""Processes of the operating system over one private server, and the log that all of them write."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from eventbus.journal.parts import part_of

WORKER = Path(__file__).with_name("worker.py")
PATIENCE_S = 120.0  # for what a healthy machine does in a moment
_RECENT = 2_000


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
        self._by_kind: dict[tuple[str, int | None], list[tuple[str, ...]]] = {}
        self._done: set[int] = set()
        self._seen: set[int] = set()
        self._firsts: dict[str, list[int]] = {}

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

    def hold(self, pid: int) -> bool:
        """Stop it, and wait until it stands. Does it hold work? What it has begun stays so until it is let go on or killed."""
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED)
        return bool(self.open_steps(pid))

    async def held(self, pids: Sequence[int], more: Callable[[], object] = lambda: None) -> int:
        """One of them that was stopped with work in flight: looked at while it ran, it could have ended it by now.

        `more` is called while none of them is seen to have any.
        """
        while True:
            victim = await self.busy(pids, more)
            if self.hold(victim):
                return victim
            self.signal(victim, signal.SIGCONT)

    async def busy(self, pids: Sequence[int], more: Callable[[], object] = lambda: None) -> int:
        """One of them that has work in flight at this moment."""
        found: list[int] = []

        def look() -> bool:
            found[:] = [pid for pid in pids if self.in_flight(pid) > 0 and self.open_steps(pid)]
            if not found:
                more()
            return bool(found)

        await self.until(look)
        return random.choice(found)

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
            self._take(Line(int(pid), what, tuple(words)))
        return self.lines

    def _take(self, line: Line) -> None:
        self.lines.append(line)
        for whose in (line.pid, None):
            self._by_kind.setdefault((line.what, whose), []).append(line.words)
        if line.what == "ended":
            self._done.add(int(line.words[0]))
        elif line.what == "began" and int(line.words[0]) not in self._seen:
            self._seen.add(int(line.words[0]))
            self._firsts.setdefault(line.words[1], []).append(int(line.words[0]))

    def of(self, what: str, pid: int | None = None) -> list[tuple[str, ...]]:
        """The words of all lines of a kind, of one process or of all."""
        self.look()
        return self._by_kind.get((what, pid), [])

    async def until(self, is_so: Callable[[], object]) -> None:
        """Wait for something that processes do."""
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            if time.monotonic() > deadline:
                counts = Counter(line.what for line in self.lines)
                pytest.fail(f"not within {PATIENCE_S:g} s: {dict(counts)}\n{self._errors.read_text()[-3000:]}")
            await asyncio.sleep(0.02)

    async def ready(self, *pids: int) -> None:
        """They are connected and subscribed."""
        await self.until(lambda: all(self.of("ready", pid) for pid in pids))

    def in_flight(self, pid: int) -> int:
        """Deliveries that it began and did not end."""
        return len(self.of("began", pid)) - len(self.of("ended", pid))

    def open_steps(self, pid: int) -> set[int]:
        """Steps that it began, and nobody has ended."""
        return {int(n) for n, *_ in self.of("began", pid)[-_RECENT:]} - self.handled()

    def handled(self) -> set[int]:
        """Steps that ended somewhere."""
        self.look()
        return self._done

    def firsts(self) -> dict[str, list[int]]:
        """By account, the steps in the order in which their first attempts began."""
        self.look()
        return self._firsts

    def repeats(self, parts: int) -> dict[tuple[int, int], int]:
        """By part and fencing token: attempts of steps that had begun under an earlier one. So many a takeover repeated."""
        began: dict[int, int] = {}
        found: dict[tuple[int, int], int] = {}
        for n, account, _attempt, token in self.of("began"):
            part, first = part_of(account, "", parts), began.setdefault(int(n), int(token))
            if first < int(token):
                began[int(n)] = int(token)
                found[part, int(token)] = found.get((part, int(token)), 0) + 1
        return found

    def must_be_in_order(self) -> None:
        """First attempts of one account began in order of acceptance."""
        offsets = {int(n): int(offset) for n, offset in self.of("kept")}
        for account, steps in self.firsts().items():
            places = [offsets[n] for n in steps if n in offsets]
            assert places == sorted(places), f"{account} out of order"
