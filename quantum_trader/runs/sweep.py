"""Sweep: one strategy with many parameters, each a run in a folder of its own, on as many processes as there are cores.

The plan is a file; a run that is complete stays so, one that was interrupted goes on from its checkpoint. Workers share
nothing but the files they read: one that dies is replaced, and what it had in hand is taken up again.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Final

from quantum_trader.config import Config
from quantum_trader.files import write_whole
from quantum_trader.runs.folder import RunFolder

PLAN: Final = "sweep.json"
_DEATHS: Final = 3  # of workers over one point, before it is given up
_STOP_S: Final = 30.0  # for a worker to finish the session in hand

Params = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """One run of a sweep."""

    number: int
    params: Params
    config: Config
    folder: RunFolder


@dataclass(slots=True)
class Outcome:
    """What became of the points: `done` complete, `failed` with the reason, the rest waits for the next call."""

    done: list[Point] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    deaths: int = 0  # of workers
    is_stopped: bool = False


def grid(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination, the last axis running fastest."""
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def plan(folder: Path, base: Config, axes: Mapping[str, Sequence[Any]]) -> list[Point]:
    """The points of a sweep in `folder`, and the file that says which. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    points = []
    for number, params in enumerate(grid(axes)):
        own = base.own.model_copy(update={"params": {**base.own.params, **params}})
        name = "-".join(f"{key}={value}" for key, value in params.items()).replace("/", "_")
        points.append(
            Point(number, params, base.model_copy(update={"own": own}), RunFolder(folder / f"{number:04}-{name}"[:120]))
        )
    text: dict[str, Any] = {
        "strategy": base.own.strategy,
        "axes": {name: list(values) for name, values in axes.items()},
    }
    text["runs"] = [{"folder": point.folder.path.name, "params": dict(point.params)} for point in points]
    write_whole(folder / PLAN, json.dumps(text, indent=2).encode())
    return points


def is_done(point: Point) -> bool:
    """Whether the run of a point is complete and is that of the point."""
    return point.folder.is_complete and point.folder.config() == point.config


class Sweep:
    """Does the points that are not done, on `jobs` processes; `work` runs in each of them with one point at a time."""

    def __init__(self, points: Sequence[Point], jobs: int, work: Callable[[Point], None]) -> None:
        self._outcome = Outcome(done=[point for point in points if is_done(point)])
        known = {point.number for point in self._outcome.done}
        self._waiting = deque(point for point in points if point.number not in known)
        self._jobs = max(1, min(jobs, len(self._waiting)))
        self._work = work
        self._workers: dict[Connection, SpawnProcess] = {}
        self._in_hand: dict[Connection, Point] = {}
        self._deaths: dict[int, int] = {}

    @property
    def outcome(self) -> Outcome:
        return self._outcome

    @property
    def workers(self) -> tuple[int, ...]:
        """Process ids of those at work."""
        return tuple(process.pid or 0 for process in self._workers.values())

    def run(self) -> Iterator[Point]:
        """Each point as it is done. An interrupt lets the sessions in hand end; the next call goes on from there."""
        try:
            for _ in range(self._jobs):
                self._hire()
            while self._in_hand:
                yield from self._hear()
        except KeyboardInterrupt:
            self._outcome.is_stopped = True
        finally:
            self._dismiss()

    def _hire(self) -> None:
        """A worker for the next point, if one waits."""
        if not self._waiting:
            return
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._work), daemon=True)
        process.start()
        theirs.close()
        self._workers[ours] = process
        self._give(ours)

    def _give(self, worker: Connection) -> None:
        if self._waiting:
            point = self._in_hand[worker] = self._waiting.popleft()
            with contextlib.suppress(OSError):  # it died meanwhile: its end of the pipe tells
                worker.send(point)

    def _hear(self) -> Iterator[Point]:
        for worker in wait(list(self._in_hand)):
            assert isinstance(worker, Connection)
            point = self._in_hand.pop(worker)
            try:
                problem = worker.recv()
            except (EOFError, OSError):
                self._bury(worker, point)
                continue
            if problem is None:
                self._outcome.done.append(point)
                self._give(worker)
                yield point
            else:
                self._outcome.failed[point.number] = problem
                self._give(worker)

    def _bury(self, worker: Connection, point: Point) -> None:
        process = self._workers.pop(worker)
        worker.close()
        process.join()
        self._outcome.deaths += 1
        deaths = self._deaths[point.number] = self._deaths.get(point.number, 0) + 1
        if deaths < _DEATHS:
            self._waiting.appendleft(point)
        else:
            self._outcome.failed[point.number] = f"its worker died {deaths} times (exit code {process.exitcode})"
        self._hire()

    def _dismiss(self) -> None:
        for worker, process in self._workers.items():
            worker.close()
            if process.is_alive() and worker in self._in_hand:
                process.terminate()  # heard as a wish to stop after the session in hand
        for process in self._workers.values():
            process.join(_STOP_S)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        self._workers.clear()


def _serve(pipe: Connection, work: Callable[[Point], None]) -> None:
    """The life of a worker: a point in, None or what went wrong out, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells every process; who leads decides
    with contextlib.suppress(EOFError, OSError):
        while True:
            point: Point = pipe.recv()
            try:
                work(point)
            except Exception as error:  # noqa: BLE001 - a user's code runs in there: one point must not end the others
                pipe.send(" ".join(f"{type(error).__name__}: {error}".split())[:500])
            else:
                pipe.send(None)
